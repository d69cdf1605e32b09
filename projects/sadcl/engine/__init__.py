"""The start of SADCL's second stage."""

from .prototype_hook import PrototypeHook

__all__ = ['PrototypeHook']
