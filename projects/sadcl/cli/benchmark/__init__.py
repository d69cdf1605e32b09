"""SADCL's part of ``mlic benchmark``."""

from . import losses, network

# name of --only: (Bench, arguments of the command) to cases
GROUPS = {
    'losses': lambda bench, args: losses.cases(bench, args.quick),
    'neck': lambda bench, args: network.neck_cases(bench, args.quick),
    'step': lambda bench, args: network.step_cases(bench, args.config, args.batch, args.size),
    'inference': lambda bench, args: network.inference_cases(bench),
}
