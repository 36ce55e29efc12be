"""Images from a recipe to answers: the command line, and rows in Python."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from transformers import ViTImageProcessorPil, ViTModel

from backbones import IMAGE_SIZE, tiny_backbone_config
from fixtures import tiny_model, tiny_tokenizer
from mt_transformers.cli.main import main
from mt_transformers.errors import InputError
from mt_transformers.inference import MultiTaskPredictor, check_row, load_model

Captured = pytest.CaptureFixture[str]

COLORS = ["blue", "red"]
PIXEL = {"blue": (0, 0, 255), "red": (255, 0, 0)}
SIZE = ["large", "small"]


def picture(color: str, size: str) -> Image.Image:
    """A square of a colour, large or small, on black."""
    pixels = np.zeros((10, 10, 3), dtype=np.uint8)
    pixels[:5, : 10 if size == "large" else 2] = PIXEL[color]
    return Image.fromarray(pixels)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a backbone, rows, a recipe, and in `out` the model that `train` made of them."""
    folder = tmp_path_factory.mktemp("pictures")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        ViTModel(tiny_backbone_config("vit", initializer_range=0.2)).save_pretrained(folder / "vit")
    ViTImageProcessorPil(size={"height": IMAGE_SIZE, "width": IMAGE_SIZE}).save_pretrained(folder / "vit")
    kinds = [(color, size) for color in COLORS for size in SIZE]
    rows = datasets.Dataset.from_dict(
        {
            "image": [picture(*kind) for kind in kinds],
            "color": [COLORS.index(color) for color, _ in kinds],
            "size": [SIZE.index(size) for _, size in kinds],
        },
        features=datasets.Features(
            {
                "image": datasets.Image(),
                "color": datasets.ClassLabel(names=COLORS),
                "size": datasets.ClassLabel(names=SIZE),
            }
        ),
    )
    rows.to_parquet(folder / "rows.parquet")
    for number, kind in enumerate(kinds):
        file = folder / "files" / kind[0] / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        picture(*kind).save(file)
    files = dict.fromkeys(("train", "test"), "rows.parquet")
    recipe = {
        "backbone": "vit",
        "heads": {name: {"head_type": "image_classification"} for name in ("color", "size")},
        "tasks": {
            "pictures": {
                "dataset": {"path": "parquet", "data_files": files},
                "inputs": {"images": "image"},
                "labels": {"color": "color", "size": "size"},
            }
        },
        "training": {
            "output_dir": str(folder / "out"),
            "use_cpu": True,
            "report_to": [],
            "disable_tqdm": True,
            "save_strategy": "no",
            "learning_rate": 3e-3,
            "lr_scheduler_type": "constant",
            "num_train_epochs": 30,
        },
    }
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe), encoding="utf-8")
    assert main(["train", str(folder / "recipe.yaml")]) == 0
    return folder


@pytest.fixture(scope="module")
def predictor(trained: Path) -> MultiTaskPredictor:
    return MultiTaskPredictor(*load_model(trained / "out"), batch_size=2)


def write_lines(path: Path, lines: list[Any]) -> str:
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines), encoding="utf-8")
    return str(path)


def labels_of(answers: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return [(answer["color"]["label"], answer["size"]["label"]) for answer in answers]


# the command line


def test_a_recipe_of_images(trained: Path) -> None:
    results = json.loads((trained / "out" / "all_results.json").read_text(encoding="utf-8"))
    assert results["test_pictures_color_accuracy"] == results["test_pictures_size_accuracy"] == 1
    assert main(["evaluate", str(trained / "out"), "--recipe", str(trained / "recipe.yaml")]) == 0


def test_a_recipe_of_a_folder_with_images(trained: Path, tmp_path: Path) -> None:
    recipe = yaml.safe_load((trained / "recipe.yaml").read_text(encoding="utf-8"))
    dataset = {"path": "imagefolder", "data_files": {"train": "files/**"}}
    recipe["tasks"]["pictures"] = {"dataset": dataset, "inputs": {"images": "image"}, "labels": {"color": "label"}}
    del recipe["heads"]["size"]
    recipe["training"] |= {"max_steps": 1, "output_dir": str(tmp_path / "out")}
    path = trained / "folder.yaml"
    path.write_text(yaml.safe_dump(recipe), encoding="utf-8")
    assert main(["train", str(path)]) == 0
    config = json.loads((tmp_path / "out" / "config.json").read_text(encoding="utf-8"))
    assert list(config["heads"]["color"]["id2label"].values()) == COLORS


def test_files_are_named_from_the_working_directory(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("pictures").mkdir()
    kinds = [("red", "small"), ("blue", "large"), ("red", "large")]
    lines = []
    for number, kind in enumerate(kinds):
        picture(*kind).save(f"pictures/{number}.png")
        lines.append({"images": f"pictures/{number}.png"})
    lines[2] = {"images": str(Path("pictures/2.png").resolve()), "task": "pictures"}
    # elsewhere than the lines, which does not matter
    Path("elsewhere").mkdir()
    given = write_lines(Path("elsewhere/in.jsonl"), lines)
    assert main(["predict", str(trained / "out"), "--input", given, "--output", "out.jsonl"]) == 0
    answers = [json.loads(line) for line in Path("out.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [answer["line"] for answer in answers] == [1, 2, 3]
    assert labels_of([answer["outputs"] for answer in answers]) == kinds


def test_bad_lines_are_named_before_any_work(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    monkeypatch.chdir(tmp_path)
    picture("red", "small").save("good.png")
    Path("text.png").write_text("no image")
    Path("cut.jpg").write_bytes(jpeg()[: len(jpeg()) // 2])
    Path("folder.png").mkdir()
    lines = [
        {"images": "good.png"},
        {"images": "nowhere.png"},
        {"images": "text.png"},
        {"images": "cut.jpg"},
        {"images": "folder.png"},
        {"images": 7},
        {"images": None},
        {"images": {"path": "good.png"}},
        {"images": [["a"]]},
        {"images": "https://example.com/a.png"},
        {"text": "red"},
        {"images": "good.png", "task": "photos"},
    ]
    given = write_lines(Path("in.jsonl"), lines)
    command = ["predict", str(trained / "out"), "--input", given, "--output", "out.jsonl"]
    assert main(command) == 2
    found = capsys.readouterr().err
    for line in (
        "in.jsonl, line 2: images: there is no file 'nowhere.png'.",
        "in.jsonl, line 3: the image text.png cannot be read: it is of no kind that pillow knows.",
        "in.jsonl, line 4: the image cut.jpg cannot be read: image file is truncated",
        "in.jsonl, line 5: images: there is no file 'folder.png'.",
        "in.jsonl, line 6: images: expected the name of a file, an image or an array, found 7.",
        "in.jsonl, line 7: images: expected the name of a file, an image or an array, found None.",
        "in.jsonl, line 8: images: expected the name of a file, an image or an array, found {'path': 'good.png'}.",
        "in.jsonl, line 9: expected an image, found list of <U1.",
        "in.jsonl, line 10: images: there is no file 'https://example.com/a.png'.",
        "in.jsonl, line 11: the row reads text, but the processing class has no tokenizer.",
        "in.jsonl, line 12: row: unknown task 'photos'",
    ):
        assert line in found
    assert "11 line(s) cannot be used" in found
    assert not Path("out.jsonl").exists()
    assert main([*command, "--on-error", "skip"]) == 0
    answers = [json.loads(line) for line in Path("out.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [answer["line"] for answer in answers] == [1]


def jpeg() -> bytes:
    """A photograph, as it were, of some kilobytes."""
    buffer = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 256, (60, 60, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(buffer, "JPEG")
    return buffer.getvalue()


def test_images_for_a_model_of_text(tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    tiny_model().save_pretrained("model")
    tiny_tokenizer().save_pretrained("model")
    picture("red", "small").save("good.png")
    given = write_lines(Path("in.jsonl"), [{"text": "play"}, {"images": "good.png"}])
    assert main(["predict", "model", "--input", given, "--output", "out.jsonl"]) == 2
    message = "in.jsonl, line 2: the row reads images, but the processing class has no image_processor."
    assert message in capsys.readouterr().err


# Python


def test_all_kinds_of_images(predictor: MultiTaskPredictor, tmp_path: Path) -> None:
    image = picture("red", "large")
    image.save(tmp_path / "a.png")
    pixels = np.asarray(image)
    file = tmp_path / "a.png"
    rows = [image, pixels, pixels.tolist(), torch.from_numpy(pixels.copy()), file, str(file)]
    answers = predictor([{"images": row} for row in rows])
    assert labels_of(answers) == [("red", "large")] * 6
    scores = [answer["color"]["score"] for answer in answers]
    assert scores == pytest.approx([scores[0]] * 6)


def test_answers_stand_in_the_order_of_the_rows(predictor: MultiTaskPredictor) -> None:
    kinds = [(color, size) for size in SIZE for color in COLORS] * 2
    assert labels_of(predictor([{"images": picture(*kind)} for kind in kinds])) == kinds
    assert set(predictor([{"images": picture(*kinds[0])}], heads=["size"])[0]) == {"size"}


def test_bad_rows_are_named(predictor: MultiTaskPredictor, tmp_path: Path) -> None:
    good = {"images": picture("red", "small")}
    with pytest.raises(InputError, match="row 2: images: there is no file"):
        predictor([good, good, {"images": tmp_path / "nowhere.png"}])
    (tmp_path / "text.png").write_text("no image")
    with pytest.raises(InputError, match=r"row 3: the image .*text\.png cannot be read: it is of no kind"):
        predictor([good, good, good, {"images": tmp_path / "text.png"}])
    with pytest.raises(InputError, match="row 1: expected pixels that are whole numbers from 0 to 255"):
        predictor([good, {"images": np.full((4, 4), 300)}])
    with pytest.raises(InputError, match="row 0: the row reads text, but the processing class has no tokenizer"):
        predictor(["a red one"])


@pytest.mark.parametrize("value", [3, None, b"bytes", {"bytes": b"", "path": None}])
def test_check_row_refuses_what_is_no_image(value: Any) -> None:
    with pytest.raises(InputError, match="images: expected the name of a file, an image or an array, found"):
        check_row({"images": value}, {})


def test_check_row_takes_images(tmp_path: Path) -> None:
    image = picture("red", "small")
    image.save(tmp_path / "a.png")
    for value in (str(tmp_path / "a.png"), tmp_path / "a.png", image, np.asarray(image), [[0, 1]]):
        assert check_row({"images": value}, {})["images"] is value
    for name in ("", "a\0b", "x" * 5000):
        with pytest.raises(InputError, match="images: there is no file"):
            check_row({"images": name}, {})
