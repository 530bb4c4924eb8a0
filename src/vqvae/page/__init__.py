"""The page of a run: its models run in the browser."""
