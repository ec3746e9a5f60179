"""`diffopt config`: print every setting with its unit, bounds and meaning, ready to be edited."""

import argparse

from engine.commands.output import say, say_json
from engine.config import config_to_yaml, load_config


def config(options: argparse.Namespace) -> int:
    """Print the settings of a file or a recipe, defaults filled in."""
    settings = load_config(options.config, options.set or ())
    if options.json:
        say_json(settings.to_dict())
    else:
        say(config_to_yaml(settings).rstrip())
    return 0
