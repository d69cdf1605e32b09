"""Methods under one recipe: what `tools/compare.py` does, in parts."""

from mlic.comparison.bootstrap import bootstrap_weights, mean_ap, paired_interval, weighted_ap
from mlic.comparison.feature_configs import FrozenBackboneError, store_features
from mlic.comparison.recipes import hold_out, load_recipe, recipe_text, replace_data
from mlic.comparison.runs import Run, run_all
from mlic.comparison.tables import Summary, draw_class_differences, summarise, write_tables

__all__ = [
    'FrozenBackboneError',
    'Run',
    'Summary',
    'bootstrap_weights',
    'draw_class_differences',
    'hold_out',
    'load_recipe',
    'mean_ap',
    'paired_interval',
    'recipe_text',
    'replace_data',
    'run_all',
    'store_features',
    'summarise',
    'weighted_ap',
    'write_tables',
]
