"""Learning tasks one after another, without forgetting the earlier ones."""
