"""policyguard.enforce."""
