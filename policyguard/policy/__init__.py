"""The promises as frozen data: terms, rules, recipients, notice, data map, loader and lint."""
