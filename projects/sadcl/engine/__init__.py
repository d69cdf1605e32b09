"""The start of SADCL's second stage."""

from .prototype_hook import PrototypeHook, build_prototype_loader, class_means

__all__ = [
    'PrototypeHook',
    'build_prototype_loader',
    'class_means',
]
