"""Makes docs/figures/demo.png: the demo page, asked about scikit-image's photo of an astronaut.

python -m tests.demo.screenshot --model DIR [--weights DIR] [--out FILE]

Needs gradio, selenium, scikit-image, and Debian's chromium-driver. The photo is NASA's (Eileen
Collins) and in the public domain.
"""

from __future__ import annotations

import argparse
import io
import tempfile
import time
from pathlib import Path

import skimage.data
from PIL import Image

from dldl_fast.demo.page import serving
from dldl_fast.files import replace_file
from dldl_fast.prediction import AgeEstimator
from tests.demo.browser import WIDTH, ask, chromium


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--out", type=Path, default=Path("docs/figures/demo.png"))
    arguments = parser.parse_args()
    estimator = AgeEstimator.from_pretrained(
        arguments.model, weights=arguments.weights, several="all", no_face="skip"
    )
    with (
        tempfile.TemporaryDirectory() as folder,
        serving(estimator, arguments.model.name, 0) as address,
        chromium() as browser,
    ):
        photo = Path(folder) / "astronaut.png"
        Image.fromarray(skimage.data.astronaut()).save(photo)
        browser.get(address)
        print(ask(browser, photo))
        height = browser.execute_script("return document.querySelector('gradio-app').scrollHeight")
        # The window is higher than what it shows.
        browser.set_window_size(WIDTH, height + 150)
        time.sleep(1)  # for the layout, and the spinner to go
        picture = Image.open(io.BytesIO(browser.get_screenshot_as_png())).convert("RGB")
    picture = picture.crop((0, 0, WIDTH, height))
    # Few colours, mixed where there are more: a third of the size.
    small = picture.quantize(palette=picture.quantize(256))
    replace_file(arguments.out, lambda path: small.save(path, "PNG", optimize=True))
    print(f"{arguments.out}: {small.size}, {arguments.out.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
