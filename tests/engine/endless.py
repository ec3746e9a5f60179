"""Settings of a run that trains until it is told to end, or longer than any test."""

ENDLESS = """\
model_path: {model_path}
optimization_stages: 1
target_steps: 2
quality_threshold: 0.01
apple_silicon_optimization: false
original: {{steps: 4}}
schedule: {{search: false}}
training: {{iterations: [100000], trajectories: 8, batch_size: 4, report_every: 1, sample_every: 0}}
quality: {{samples: 64, select_samples: 64, bootstrap: 100}}
"""
