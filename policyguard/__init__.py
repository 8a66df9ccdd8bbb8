"""policyguard holds running code to the published privacy policy."""
