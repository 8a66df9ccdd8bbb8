"""policyguard.engine."""
