"""The networks: the published one, the cheaper preset `fast`, and their parts."""
