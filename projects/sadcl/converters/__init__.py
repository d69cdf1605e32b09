"""Weights of the published code."""

from .published_weights import check_complete, convert_state_dict, revert_state_dict

__all__ = ['check_complete', 'convert_state_dict', 'revert_state_dict']
