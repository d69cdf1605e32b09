# SARL alone
_base_ = './sadcl.py'

model = dict(head=dict(loss_sscl=None, loss_pscl=None))
custom_hooks = _base_.custom_hooks[:1]
