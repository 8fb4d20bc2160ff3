"""The pages of the report that are HTML, each complete in itself: tables, and lists to look at twice."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import itables
import jinja2
import pandas as pd
from itables.javascript import generate_init_offline_itables_html
from markupsafe import Markup

from zipcrop.report import thumbnail
from zipcrop.report.picks import CROWD, Pick
from zipcrop.results import summary

if TYPE_CHECKING:
    import numpy as np

    from zipcrop.report.pictures import Pictures

_PICTURE = (220, 220)
"""Most width and height of a picture in a list, pixels."""
_EXACT = 1 << 53
"""A browser rounds numbers beyond this."""
Survey = dict[str, Any]


@dataclass(frozen=True)
class Gallery:
    """A list of pictures to look at twice."""

    title: str
    lead: str
    advice: str
    """Which setting to change; `[confidence]` becomes its name and its value."""
    nothing: str
    """The text that stands in for an empty list."""
    total: Callable[[dict[str, Any]], int]
    """The number of all that could be listed, from the survey's numbers."""
    note: Callable[[Pick], str]


def _score(pick: Pick) -> str:
    return f"confidence {pick['confidence']:.2f}"


def _size(pick: Pick) -> str:
    width, height = pick["crop"][2:]
    return f"{width} × {height} pixels, {_score(pick)}"


def _shape(pick: Pick) -> str:
    shorter, longer = sorted(pick["crop"][2:])
    return f"1 : {longer / shorter:.1f}, {_size(pick)}"


GALLERIES = {
    "almost": Gallery(
        "Almost people",
        "Photos filed under No_Person in which something came nearest to being taken for a person; its box is drawn.",
        "if these are people, lower [confidence]; if they are small, raise [image_size];"
        " if neither helps, use better weights.",
        "In no photo without people did anything look like a person, however unsure.",
        lambda numbers: numbers["almost"],
        _score,
    ),
    "unsure": Gallery(
        "Least sure people",
        "The crops with the lowest confidence of all that were kept.",
        "if these are no people, raise [confidence].",
        "There are no crops.",
        lambda numbers: numbers["crops"],
        _score,
    ),
    "small": Gallery(
        "Smallest crops",
        "The crops with the fewest pixels, shown enlarged at most four times.",
        "if they are too small to train on, raise [crop.min_size], the least width and height.",
        "There are no crops.",
        lambda numbers: numbers["crops"],
        _size,
    ),
    "extreme": Gallery(
        "Most extreme shapes",
        "The widest and the narrowest crops. Slivers are mostly people cut off by the photo's edge, or no people.",
        "raise [crop.min_size] if they are slivers, and [confidence] if they are no"
        " people; [crop.padding] gives narrow ones more room.",
        "There are no crops.",
        lambda numbers: numbers["crops"],
        _shape,
    ),
    "crowds": Gallery(
        "Very many people in one photo",
        f"Photos with {CROWD} people or more, put together again from their crops, since the photos are not kept.",
        "if one person has several boxes, lower [iou]; if some are no people, raise"
        " [confidence]; if a photo has as many people as [max_detections] allows, raise that.",
        f"No photo has {CROWD} people or more.",
        lambda numbers: numbers["crowded"],
        lambda pick: f"{len(pick['people'])} people",
    ),
}


def all_pages(survey: Survey, output: Path, pictures: Pictures) -> Iterator[tuple[str, str]]:
    """All pages of `survey`, each with its name. Pictures come from the folder `output`, by way of `pictures`."""
    yield "archives", archives(survey)
    yield "provenance", provenance(survey)
    yield "failures", failures(survey)
    yield "duplicates", duplicates(survey, output, pictures)
    yield from galleries(survey, output, pictures)


def galleries(survey: Survey, output: Path, pictures: Pictures) -> Iterator[tuple[str, str]]:
    """The lists of pictures: name and page. Pictures come from the folder `output`, by way of `pictures`."""
    settings = _settings(survey)
    for name, gallery in GALLERIES.items():
        picks = survey["picks"][name]
        shown = [
            {**pick, "picture": picture, "note": gallery.note(pick)}
            for pick, picture in zip(picks, _shown(picks, output, pictures), strict=True)
        ]
        yield (
            name,
            _render(
                "gallery",
                title=gallery.title,
                lead=gallery.lead,
                advice=_filled(gallery.advice, settings),
                nothing=gallery.nothing,
                count=_count(len(picks), gallery.total(survey["numbers"]), "list_length"),
                picks=shown,
            ),
        )


def duplicates(survey: Survey, output: Path, pictures: Pictures) -> str:
    """Photos that are in several archives. Pictures come from the folder `output`, by way of `pictures`."""
    photos = survey["duplicates"]
    images = thumbnail.of_files(pictures, (output / photo["file"] for photo in photos), *_PICTURE)
    shown = [{**photo, "picture": _data_uri(image)} for photo, image in zip(photos, images, strict=True)]
    count = _count(len(shown), survey["numbers"]["shared_photos"], "list_length")
    return _render("duplicates", title="Duplicates", photos=shown, count=count, numbers=survey["numbers"])


def failures(survey: Survey) -> str:
    """Failures with their reasons."""
    listed = survey["failures"]
    table = pd.DataFrame(
        [
            (
                each["archive"],
                "(the archive itself)" if each["member_index"] == -1 else each["member"],
                each["member_index"],
                each["reason"],
            )
            for each in listed
        ],
        columns=["archive", "member", "member_index", "reason"],
    )
    return _render(
        "failures",
        title="Failures",
        listed=listed,
        count=_count(len(listed), survey["numbers"]["failed"], "failures_listed"),
        reasons=survey["reasons"],
        table=_data_table(table, "failures"),
    )


def archives(survey: Survey) -> str:
    """The summary, one row per archive, and its totals."""
    table = pd.DataFrame(survey["archives"], columns=[*summary.COLUMNS, "mean_confidence"]).drop(
        columns=["zip", "fingerprint"]
    )
    if any(each > _EXACT for each in table["bytes"]):
        table["bytes"] = table["bytes"].map(str)
    sureness = table["mean_confidence"]
    table["mean_confidence"] = ["" if pd.isna(each) else f"{each:.3f}" for each in sureness]
    table = table.rename(columns=lambda name: name.replace("_", " "))  # so that headings can wrap
    names = [name for name in summary.COLUMNS if name in survey["numbers"]]
    totals = [("archives", len(table)), *((name, survey["numbers"][name]) for name in names)]
    return _render("archives", title="Archives", table=_data_table(table, "archives"), totals=totals)


def provenance(survey: Survey) -> str:
    """Weights, settings, versions and fingerprints."""
    in_order = sorted(survey["archives"], key=lambda each: each["archive"])
    return _render("provenance", title="Provenance", provenance=survey["provenance"], archives=in_order)


def _render(template: str, **values: Any) -> str:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters["number"] = lambda value: f"{value:,}"
    return environment.get_template(f"{template}.html.jinja").render(**values)


def _data_table(table: pd.DataFrame, table_id: str) -> Markup:
    """`table` as a DataTable, which sorts at a click and searches as one types, without any network."""
    bundle = Path(itables.__file__).parent / "html" / "dt_bundle.js"
    html = itables.to_html_datatable(
        table,
        connected=False,
        table_id=table_id,
        showIndex=False,
        allow_html=False,
        maxBytes=0,  # no limit: otherwise it would leave rows out
        order=[],
        paging=len(table) > 25,
        pageLength=25,
        lengthMenu=[25, 100, 500, 2000],
        layout={"topStart": "search", "topEnd": None},
        classes="compact hover",
        style="width:auto;margin:0",
        display_logo_when_loading=False,
    )
    return Markup(generate_init_offline_itables_html(bundle) + html)


def _settings(survey: Survey) -> dict[str, Any]:
    """The settings of most archives."""
    provenance: list[dict[str, Any]] = survey["provenance"]
    return provenance[0]["settings"] if provenance else {}


def _filled(advice: str, settings: dict[str, Any]) -> Markup:
    filled = Markup.escape(advice)
    for key, value in settings.items():
        filled = Markup(filled.replace(f"[{key}]", Markup("<code>{}</code> (now {})").format(key, value)))
    return filled


def _count(shown: int, total: int, key: str) -> str:
    return (
        f"{total:,} in all."
        if shown == total
        else f"{shown:,} of {total:,}; report.{key} in the configuration shows more."
    )


def _shown(picks: list[Pick], output: Path, pictures: Pictures) -> Iterator[str | None]:
    """The picture of each pick, as a data URI; None if it cannot be shown."""
    files = [[each["file"] for each in pick.get("people", [pick])] for pick in picks]
    images = thumbnail.of_files(pictures, (output / file for each in files for file in each), *_PICTURE)
    for pick, each in zip(picks, files, strict=True):
        yield _data_uri(_picture(pick, [next(images) for _ in each]))


def _picture(pick: Pick, images: list[np.ndarray | None]) -> np.ndarray | None:
    photo = (pick["width"], pick["height"])
    if "people" in pick:
        crops = [(each["box"], each["crop"], image) for each, image in zip(pick["people"], images, strict=True)]
        return thumbnail.of_crops(crops, photo, *_PICTURE)
    (image,) = images
    return image if image is None or pick["crop"] is not None else thumbnail.with_box(image, pick["box"], photo)


def _data_uri(image: np.ndarray | None) -> str | None:
    return None if image is None else thumbnail.data_uri(image)
