"""What the figures were meant to reach, beside what was measured: hits and misses alike."""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

Row = dict[str, Any]
Figures = dict[str, dict[str, Any]]  # a script's name -> the JSON that it has written

# Ours as they are, and as compilers make them: the network's and the layer's candidates.
NETWORK_COMPILED = ("LGCN compiled", "LGCN frozen compiled", "LGCN ahead of time")
LAYER_EAGER = ("DenseLGCNConv", "DenseLGCNConv frozen")
LAYER_COMPILED = ("DenseLGCNConv compiled", "DenseLGCNConv frozen compiled")


class Goal(NamedTuple):
    """A figure with its goals."""

    figure: str
    must: float | None
    aim: float | None
    measured: float | None  # None where it was not
    of: str  # what reached it
    show: Callable[[float], str]
    at_least: bool = True  # or at most

    @property
    def verdict(self) -> str:
        """Whether the goals are met."""
        if self.measured is None:
            return "not measured"
        if self.aim is not None and self._meets(self.aim):
            return "aim reached"
        if self.must is None:
            return "aim missed"
        if self._meets(self.must):
            return "reached" if self.aim is None else "reached, aim missed"
        return "**missed**"

    def _meets(self, bound: float) -> bool:
        assert self.measured is not None
        return self.measured >= bound if self.at_least else self.measured <= bound


def times(value: float) -> str:
    """A ratio."""
    return f"{value:.0f}x" if value >= 100 else f"{value:.3g}x"


def part(value: float) -> str:
    """A ratio of 10 as 1/10."""
    return f"1/{value:.0f}"


def percent(value: float) -> str:
    """A share."""
    return f"{100 * value:.2g} %"


def scientific(value: float) -> str:
    """A small number."""
    return f"{value:.0e}" if value in (1e-5, 1e-10) else f"{value:.1e}"


def find(rows: Iterable[Row], **wanted: object) -> list[Row]:
    """Rows with these values."""
    return [row for row in rows if all(row.get(key) == value for key, value in wanted.items())]


def goals(figures: Figures) -> list[Goal]:
    """All of them, in the order in which they were set."""
    return [*_network(figures), *_layer(figures), *_share(figures), *_agreement(figures)]


def _network(figures: Figures) -> list[Goal]:
    runtime = figures.get("layer_runtime", {})
    rows = find(runtime.get("results", ()), group="network")
    # Other backends than this one compile nothing.
    is_compiled = runtime.get("settings", {}).get("backend") == "inductor"
    compiled = NETWORK_COMPILED if is_compiled else ()
    eager = ("LGCN dense", "LGCN dense frozen")
    ours = {row["candidate"] for row in rows if "literal" not in row["candidate"]}

    def over(figure: str, at: Row, candidates: Iterable[str], must: float, aim: float) -> Goal:
        found = [row for row in find(rows, **at) if row["candidate"] in candidates and "literal_over_this" in row]
        best = max(found, key=lambda row: row["literal_over_this"], default=None)
        what = f"{figure}, K = {at['landmarks']}, B = {at['images']}"
        if best is None:
            return Goal(what, must, aim, None, "", times)
        return Goal(what, must, aim, best["literal_over_this"], best["candidate"], times)

    def at(landmarks: int, images: int, mode: str) -> Row:
        return {"landmarks": landmarks, "images": images, "mode": mode}

    return [
        over("literal / eager dense, inference", at(98, 1, "inference"), eager, 15, 25),
        over("literal / eager dense, inference", at(98, 32, "inference"), eager, 60, 100),
        over("literal / compiled, inference", at(98, 1, "inference"), compiled, 25, 40),
        over("literal / compiled, inference", at(98, 32, "inference"), compiled, 110, 200),
        over("literal / best, forward + backward", at(98, 32, "training"), ours, 20, 50),
        over("literal / best, inference", at(478, 8, "inference"), ours, 100, 300),
        over("literal / best, forward + backward", at(478, 8, "training"), ours, 40, 100),
        over("literal / sparse, forward + backward", at(98, 32, "training"), ["LGCN sparse"], 4, 10),
        _memory(rows, at(98, 32, "inference")),
    ]


def _memory(rows: list[Row], at: Row) -> Goal:
    figure = f"extra memory, the kept table included, against literal, inference, K = {at['landmarks']}"
    figure += f", B = {at['images']}"
    held = {row["candidate"]: held_bytes(row) for row in find(rows, **at) if "peak_bytes" in row}
    if "literal" not in held or "LGCN dense" not in held:
        return Goal(figure, 10, 50, None, "", part)
    return Goal(figure, 10, 50, held["literal"] / held["LGCN dense"], "LGCN dense", part)


def held_bytes(row: Row) -> int:
    """Most memory at once during a call, and what stays between calls."""
    return int(row["peak_bytes"] + row.get("kept_bytes", 0))


def _layer(figures: Figures) -> list[Goal]:
    rows = find(figures.get("layer_runtime", {}).get("results", ()), group="layer", landmarks=98)
    found = []
    for mode, images in (("inference", 1), ("inference", 32), ("training", 32)):
        ratio = {
            row["candidate"]: row["this_over_dense_lgcn_conv"]
            for row in find(rows, mode=mode, images=images)
            if "this_over_dense_lgcn_conv" in row
        }
        where = f"{'inference' if mode == 'inference' else 'forward + backward'}, K = 98, B = {images}"
        # Eager against eager, then each in its fastest form.
        for mine, which in ((LAYER_EAGER, ""), (LAYER_COMPILED, " compiled, each in its fastest form")):
            ours = min((ratio[name] for name in mine if name in ratio), default=None)
            for figure, rivals, must, aim in (
                ("fastest attention-like PyG convolution", ("GATv2Conv", "TransformerConv"), 20, None),
                ("`MultiheadAttention`", ("MultiheadAttention",), None, 1),
            ):
                forms = rivals + tuple(f"{name} compiled" for name in rivals) if which else rivals
                fastest = min((name for name in forms if name in ratio), key=ratio.__getitem__, default="")
                measured = ratio[fastest] / ours if fastest and ours is not None else None
                title = f"{figure} / `DenseLGCNConv`{which}, {where}"
                found.append(Goal(title, must, aim, measured, fastest, times))
    return found


def _share(figures: Figures) -> list[Goal]:
    share = figures.get("detector_share", {})
    settings = share.get("settings", {})
    as_wanted = (settings.get("backbone"), settings.get("size")) == ("hrnet_w18", 256)
    rows = share.get("results", ()) if as_wanted else ()
    found = []
    for images in (1, 32):
        best = min(find(rows, images=images), key=lambda row: row["share"], default=None)
        figure = f"graph part's share of the HRNet-W18 detector, B = {images}"
        measured, of = (None, "") if best is None else (best["share"], best["refiner"])
        found.append(Goal(figure, 0.02, 0.005, measured, of, percent, at_least=False))
    return found


def _agreement(figures: Figures) -> list[Goal]:
    runtime = figures.get("layer_runtime", {})
    found = []
    for name, bound, rows in (
        ("float32", 1e-5, runtime.get("results", ())),
        ("float64", 1e-10, runtime.get("agreement", ())),
    ):
        worst = max(
            (row for row in rows if "max_relative_difference" in row and "literal" not in row["candidate"]),
            key=lambda row: row["max_relative_difference"],
            default=None,
        )
        measured, of = (None, "") if worst is None else (worst["max_relative_difference"], worst["candidate"])
        figure = f"largest difference from the literal version, {name}, outputs and gradients"
        found.append(Goal(figure, bound, None, measured, of, scientific, at_least=False))
    return found
