"""Time as a ratio to a matrix product of the same run, and the peak of memory."""

import math
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import torch

YARDSTICK_SIZE = 2048  # a 2048 x 2048 x 2048 float32 product
YARDSTICK_FLOPS = 2 * YARDSTICK_SIZE**3


@dataclass
class Case:
    """One piece of work.

    Args:
        name (str): Unique in the table.
        run (Callable): Does the work once.
        against (Callable, optional): Another way of doing it; its ratio is reported, too.
        against_name (str): What that is.
        against_limit (float, optional): The highest ratio of the two times that passes.
        limit (float, optional): At most this many matmuls, on the CPU; on a GPU, where a matmul
            takes as long as some launches, there is no such limit.
        memory_limit_mb (float, optional): At most this peak.
        growth (tuple, optional): (series, size) for the fitted exponent of time over size.
        measure_memory (bool): Defaults to True.
        images (int, optional): Of one call; images a second are reported, too.
    """

    name: str
    run: Callable
    against: Callable | None = None
    against_name: str = ''
    against_limit: float | None = None
    limit: float | None = None
    memory_limit_mb: float | None = None
    growth: tuple[str, float] | None = None
    measure_memory: bool = True
    images: int | None = None


@dataclass
class Result:
    """What was measured; times are medians, spreads half of what lies between the quartiles."""

    name: str
    seconds: float
    matmuls: float
    limit: float | None = None
    memory_mb: float | None = None
    memory_limit_mb: float | None = None
    against: str = ''
    ratio: float | None = None
    matmuls_spread: float | None = None
    ratio_spread: float | None = None
    ratio_limit: float | None = None
    growth: tuple[str, float] | None = None
    images: int | None = None
    missed: list = field(default_factory=list)


class Bench:
    """Measures cases on one device.

    Args:
        device (str): 'cpu' or 'cuda'.
        repeats (int): Times are medians of this many.
    """

    def __init__(self, device: str, repeats: int) -> None:
        self.device = device
        self.repeats = repeats
        generator = torch.Generator().manual_seed(0)
        shape = (YARDSTICK_SIZE, YARDSTICK_SIZE)
        self.factors = [torch.randn(shape, generator=generator).to(device) for _ in range(2)]

    def yardstick(self) -> torch.Tensor:
        """The matrix product that everything is compared with."""
        return self.factors[0] @ self.factors[1]

    def seconds(self, run: Callable) -> float:
        """Time of one call."""
        if self.device == 'cuda':
            begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            torch.cuda.synchronize()
            begin.record()
            run()
            end.record()
            torch.cuda.synchronize()
            return begin.elapsed_time(end) / 1000
        started = time.perf_counter()
        run()
        return time.perf_counter() - started

    def warm_up(self, run: Callable) -> None:
        """Run until it gets no faster, by a tenth or more, at most ten times."""
        last = self.seconds(run)
        for _ in range(9):
            now = self.seconds(run)
            if now > 0.9 * last:
                return
            last = now

    def measure(self, case: Case) -> Result:
        """Run a case, its rival and the yardstick in turn."""
        memory = self.peak_mb(case.run) if case.measure_memory else None
        for run in filter(None, (case.run, case.against, self.yardstick)):
            self.warm_up(run)
        rounds = [
            (
                self.seconds(self.yardstick),
                self.seconds(case.run),
                self.seconds(case.against) if case.against else math.nan,
            )
            for _ in range(self.repeats)
        ]
        in_matmuls = [own / matmul for matmul, own, _ in rounds]
        result = Result(
            case.name,
            seconds=statistics.median(own for _, own, _ in rounds),
            matmuls=statistics.median(in_matmuls),
            matmuls_spread=spread(in_matmuls),
            limit=case.limit if self.device == 'cpu' else None,
            memory_mb=memory,
            memory_limit_mb=case.memory_limit_mb,
            growth=case.growth,
            images=case.images,
        )
        if case.against:
            result.against, result.ratio_limit = case.against_name, case.against_limit
            ratios = [own / other for _, own, other in rounds]
            result.ratio, result.ratio_spread = statistics.median(ratios), spread(ratios)
        for what, value, limit in (
            ('matmuls', result.matmuls, result.limit),
            ('memory', result.memory_mb, result.memory_limit_mb),
            ('ratio', result.ratio, result.ratio_limit),
        ):
            if limit is not None and value is not None and value > limit:
                result.missed.append(what)
        return result

    def peak_mb(self, run: Callable) -> float:
        """Highest memory of tensors over what was there before, in MB (2^20 bytes)."""
        if self.device == 'cuda':
            run()
            torch.cuda.synchronize()
            torch.cuda.reset_peak_memory_stats()
            before = torch.cuda.memory_allocated()
            run()
            torch.cuda.synchronize()
            return (torch.cuda.max_memory_allocated() - before) / 2**20
        run()
        activities = [torch.profiler.ProfilerActivity.CPU]
        with torch.profiler.profile(activities=activities, profile_memory=True) as profile:
            run()
        now = peak = 0
        for event in _memory_events(profile):
            now += event
            peak = max(peak, now)
        return peak / 2**20


def spread(values: list[float]) -> float | None:
    """Half the distance between the quartiles; None of fewer than two."""
    if len(values) < 2:
        return None
    low, _, high = statistics.quantiles(values, n=4, method='inclusive')
    return (high - low) / 2


def _memory_events(profile: torch.profiler.profile) -> Iterator[int]:
    """Bytes allocated (positive) and freed (negative), in the order of time."""
    events = [e for e in profile.profiler.kineto_results.events() if e.name() == '[memory]']
    for event in sorted(events, key=lambda e: e.start_ns()):
        yield event.nbytes()


def exponents(results: list[Result]) -> dict[str, float]:
    """Slope of log time over log size for each series: time grows as size to this power."""
    series: dict[str, list] = {}
    for result in results:
        if result.growth:
            name, size = result.growth
            series.setdefault(name, []).append((math.log(size), math.log(result.matmuls)))
    return {
        name: statistics.linear_regression(*zip(*points)).slope for name, points in series.items()
    }
