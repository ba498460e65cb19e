"""The networks: the published ones, the cheaper `fast`, and their parts."""
