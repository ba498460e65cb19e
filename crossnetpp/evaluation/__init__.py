"""What `python -m crossnetpp.evaluate` is made of: scenes, methods, figures, reports."""
