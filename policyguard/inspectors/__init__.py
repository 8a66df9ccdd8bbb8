"""policyguard.inspectors."""
