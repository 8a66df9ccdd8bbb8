"""The guard: context, decorators, modes and reports. The only layer that raises a denial."""
