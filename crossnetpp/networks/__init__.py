"""The networks (the published ones and the cheaper `fast`) and their parts."""
