"""policyguard.observe."""
