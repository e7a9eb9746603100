"""What the demo page answers to a photo, as HTML."""

from __future__ import annotations

import base64
import io
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from dldl_fast.data.base import DataError
from dldl_fast.data.images import open_picture
from dldl_fast.demo.figures import as_svg, distribution_figure
from dldl_fast.explain import score_overlay
from dldl_fast.explain.faces import score_maps
from dldl_fast.faces import crops_of
from dldl_fast.prediction import AgeEstimator, Prediction
from dldl_fast.prediction.annotate import annotated, decimals_of

if TYPE_CHECKING:
    from PIL.Image import Image

MAX_FACES = 12
"""The largest ones are shown, so that a photo of a crowd cannot make the page endless."""


_EXPLAINED = """<p class="explained">The value is the expectation of the predicted distribution,
the line in the plot; ± gives its standard deviation, and the bar below holds 90&nbsp;% of the
probability. The score map is bright where the face speaks most for the predicted labels and dark
where least (Eq. 24 of the paper), on a scale of its own for every face.</p>"""


def answer(estimator: AgeEstimator, path: Path) -> str:
    """The photo with its faces, and a panel for each face; or what is wrong with the photo.

    All pictures are within the text, so that nothing is stored for the browser to fetch.

    Args:
        estimator: with ``several="all"`` and ``no_face="skip"``.
        path: of the photo.
    """
    try:
        photo = open_picture(path)
    except DataError as error:  # which names the folder; the user knows the name alone
        return message(str(error).replace(str(path), path.name))
    pixels = np.asarray(photo)
    (result,) = estimator.predict_many([pixels], workers=0)
    if not result.predictions:
        return message(f"{path.name}: {result.reason}")
    shown = result.predictions[:MAX_FACES]
    # The crops that the estimator made: the faces are in the predictions, unless they are none.
    faces = [one.face for one in shown if one.face is not None]
    crops = [crop.pixels for crop in crops_of(pixels, faces, several="all", size=estimator.size)]
    maps = score_maps(estimator, crops)
    panels = [_panel(estimator, *each) for each in zip(shown, crops, maps, strict=True)]
    total = len(result.predictions)
    title = "1 face" if total == 1 else f"{total} faces, the largest first"
    if total > MAX_FACES:
        title = f"The {MAX_FACES} largest of {total} faces"
    whole = annotated(photo, shown, estimator.labels, estimator.spec.unit)
    return (
        f'<div class="answer"><section class="photo">{_picture(whole, "JPEG", "the photo")}'
        f"</section><section><h2>{title}</h2>{''.join(panels)}{_EXPLAINED}</section></div>"
    )


def message(text: str) -> str:
    """A text in place of an answer."""
    return f'<p class="message">{escape(text)}</p>'


def _panel(
    estimator: AgeEstimator,
    prediction: Prediction,
    crop: NDArray[np.uint8],
    scores: Tensor | None,
) -> str:
    from PIL import Image

    labels, unit = estimator.labels, estimator.spec.unit
    decimals = decimals_of(labels)
    plot = as_svg(distribution_figure(prediction, labels, unit))
    face = _picture(Image.fromarray(crop), "PNG", "aligned face")
    if scores is None:
        map_ = "<p>This model has no score map: its features have no places.</p>"
    else:
        map_ = _picture(score_overlay(crop, scores), "PNG", "score map")
    return (
        '<article class="face">'
        f"<figure>{face}<figcaption>aligned face</figcaption></figure>"
        f"<figure>{map_}<figcaption>score map</figcaption></figure>"
        '<div class="numbers">'
        f'<p class="value"><strong>{prediction.value:.{decimals}f}</strong> '
        f"± {prediction.std:.{decimals}f} {escape(unit)}</p>"
        f'<p class="interval">90&nbsp;% between {prediction.q05:g} and {prediction.q95:g}</p>'
        f"{_embedded(plot, 'image/svg+xml', 'predicted distribution')}</div></article>"
    )


def _picture(picture: Image, file_format: str, text: str) -> str:
    file = io.BytesIO()
    picture.save(file, file_format)
    return _embedded(file.getvalue(), f"image/{file_format.lower()}", text)


def _embedded(content: bytes, kind: str, text: str) -> str:
    return f'<img alt="{text}" src="data:{kind};base64,{base64.b64encode(content).decode()}">'
