from .digit_scenes import DigitScenes

__all__ = ['DigitScenes']
