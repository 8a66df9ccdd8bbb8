"""policyguard.labels."""
