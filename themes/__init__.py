"""The colour themes of the dashboard: one YAML file each."""
