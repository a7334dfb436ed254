"""A comparison as one HTML file that holds its images and loads nothing."""

import json
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template
from types import TracebackType
from typing import Any

from srzoo.files import replacing
from srzoo.report.embed import EMBED_PIXELS, embed, embedded_size
from srzoo.report.methods import HR, LR
from srzoo.report.views import RAMP, Entry, Views, best
from srzoo.version import __version__

MARK = "<!--sections-->"
TIMES = "\N{MULTIPLICATION SIGN}"


def _part(name: str) -> str:
    return files("srzoo.report").joinpath(name).read_text(encoding="utf-8")


class Page:
    """An HTML file in the making: sections are added one by one, and kept on disk until the page is written.

    Args:
        embed_pixels: Larger images are shown reduced to about so many pixels; their crops are not.

    Examples:
        ```python
        with Page() as page:
            page.add(views)
            page.write("report.html", scale=4, protocol="", labels=["bicubic"], means={}, failed=[])
        ```
    """

    def __init__(self, embed_pixels: int = EMBED_PIXELS) -> None:
        self.embed_pixels = embed_pixels
        self.names: list[str] = []
        self._sections = tempfile.TemporaryFile("w+", encoding="utf-8")  # noqa: SIM115  # closed by __exit__
        self._template = Template(_part("section.html"))

    def __enter__(self) -> "Page":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._sections.close()

    def add(self, views: Views) -> None:
        """Add a section for an image."""
        data = embed(views, self.embed_pixels)
        versions = data.pop("views")  # large, and parsed only when the section comes near
        data["labels"] = labels = [view["label"] for view in versions]
        data["errors"] = ["errors" in view for view in versions]
        facts = [
            f"{views.lr.shape[2]}{TIMES}{views.lr.shape[1]} to {views.width}{TIMES}{views.height} pixels",
            *views.notes,
        ]
        if data["reduced"]:
            width, height = embedded_size(views.width, views.height, self.embed_pixels)
            facts.append(f"the whole image is shown reduced to {width}{TIMES}{height}, its parts at full size")
        section = self._template.substitute(
            anchor=f"image-{len(self.names) + 1}",
            name=escape(views.name),
            facts=escape(". ".join(fact[:1].upper() + fact[1:] for fact in facts)) + ".",
            ramp=",".join(RAMP),
            half=data["peak"] // 2,
            peak=data["peak"],
            reference=escape(views.reference),
            tiles="\n".join(_tile(i, label, views.scores) for i, label in enumerate(labels)),
            data=_json(data),
            views=_json(versions),
        )
        self._sections.write(section)
        self.names.append(views.name)

    def write(
        self,
        path: str | Path,
        scale: int,
        protocol: str,
        labels: Sequence[str],
        means: Mapping[str, Entry],
        failed: Sequence[tuple[str, str]],
    ) -> None:
        """Write the page whole or not at all.

        Args:
            path: HTML file.
            scale: Of the comparison.
            protocol: How the images were scored; empty if they were not.
            labels: Of the methods, in order.
            means: Label -> mean scores; empty without HR.
            failed: Name and error of each image that could not be compared.

        Raises:
            OSError: If the folder cannot be written to.
        """
        num = len(self.names)
        kinds = ", ".join(labels[:-1]) + (" and " if len(labels) > 1 else "") + labels[-1]
        told = f"{num} image{'s' if num > 1 else ''}. {kinds}."
        scored = (
            f" PSNR and SSIM by the papers' protocol: {protocol}." if means else " There is no HR image to score with."
        )
        page = Template(_part("page.html")).substitute(
            version=escape(__version__),
            title=f"Super-resolution {TIMES}{scale}",
            subtitle=escape(told + scored),
            summary=_summary(means, self.names) + _failures(failed),
            style=_part("page.css"),
            script=_part("page.js"),
            footer=f"Made by srzoo {escape(__version__)}. Images are embedded without loss.",
        )
        head, tail = page.split(MARK)
        self._sections.seek(0)
        with replacing(path) as work, open(work, "w", encoding="utf-8") as file:
            file.write(head)
            shutil.copyfileobj(self._sections, file)
            file.write(tail)


def _json(value: Any) -> str:
    """JSON that may stand in a script element."""
    return json.dumps(value, separators=(",", ":")).replace("<", "\\u003c")


def _tile(index: int, label: str, scores: Mapping[str, Entry]) -> str:
    """A view into one version of the image, with its name and score."""
    entry = scores.get(label)
    bold = ' class="best"' if label in best(scores) else ""
    said = {LR: "nearest neighbour", HR: "ground truth"}.get(label, "")
    line = f"<span{bold}>{escape(str(entry))}</span>" if entry else f"<span>{said}&nbsp;</span>"
    name = escape(label)
    buttons = "".join(
        f'<button type="button" data-side="{side}" data-view="{index}" aria-pressed="false" '
        f'aria-label="{name} on the {side}">{side.capitalize()}</button>'
        for side in ("left", "right")
    )
    return (
        '<figure><div class="tile" tabindex="0" role="group" aria-roledescription="zoomable picture" '
        f'aria-label="{name}" aria-describedby="keys"><img alt=""></div>'
        f'<figcaption><b>{name.replace("_", "_<wbr>")}</b>{line}<span class="segment">{buttons}</span></figcaption>'
        "</figure>"
    )


def _summary(means: Mapping[str, Entry], names: Sequence[str]) -> str:
    """The table of mean scores, and links to the images where there are several."""
    rows = []
    top = best(means)
    for label, entry in means.items():
        bold = ' class="best"' if label in top else ""
        rows.append(
            f"<tr><th scope=row{bold}>{escape(label)}</th>"
            f"<td{bold}>{entry.psnr_text}</td><td{bold}>{entry.ssim:.4f}</td></tr>"
        )
    title = "Mean" if len(names) > 1 else escape(names[0])
    table = (
        f'<table class="scores"><thead><tr><th scope=col>{title}</th><th scope=col>PSNR, dB</th><th scope=col>SSIM</th>'
        "</tr></thead>"
        f"<tbody>{''.join(rows)}</tbody></table>"
    )
    links = "".join(f'<a href="#image-{i}">{escape(name)}</a>' for i, name in enumerate(names, 1))
    return (table if rows else "") + (f'<nav aria-label="Images">{links}</nav>' if len(names) > 1 else "")


def _failures(failed: Sequence[tuple[str, str]]) -> str:
    if not failed:
        return ""
    items = "<br>".join(f"{escape(name)}: {escape(error)}" for name, error in failed)
    return f'<p class="failed">Not compared:<br>{items}</p>'
