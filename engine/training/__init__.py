"""A student learns: data, trajectories, schedule search, training, measuring.

No files of a run are known here.
"""
