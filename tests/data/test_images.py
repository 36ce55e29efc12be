"""Images as they come: files, PIL images, arrays; what is refused, and how rows of them reach a batch."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import torch
from datasets import Array2D, Array3D, ClassLabel, Dataset, Features, List, Value
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from transformers import CLIPImageProcessorPil, ViltImageProcessorPil, ViTImageProcessorPil

from fixtures import tiny_model, tiny_tokenizer
from mt_transformers import MultiTaskTrainer, MultiTaskTrainingArguments, Task
from mt_transformers.data import DataCollatorForMultiTask, Processing, load_processing, load_splits, prepare_split
from mt_transformers.data.images import ImageReader
from mt_transformers.data.media_columns import check_media_feature
from mt_transformers.data.streaming import prepare_stream
from mt_transformers.errors import InputError
from mt_transformers.heads import get_head_config

COLORS = {"head_type": "image_classification", "id2label": ["red", "blue"]}
RED, BLUE, WHITE = (255, 0, 0), (0, 0, 255), (255, 255, 255)
PLAIN = {"do_resize": False, "do_rescale": False, "do_normalize": False}
"""Options of an image processor that only makes tensors."""


def file_of(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    """The bytes of an image file."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def file_image(image: Image.Image) -> dict[str, Any]:
    """An image as `datasets` keeps a file."""
    return {"bytes": file_of(image), "path": None}


def pixels_of(image: Any, mode: str = "RGB") -> Any:
    """The pixels that a reader makes of an image."""
    return np.asarray(ImageReader(mode=mode).read(image)).tolist()  # type: ignore[arg-type]


def refusal(reader: ImageReader, image: Any) -> str:
    with pytest.raises(InputError) as caught:
        reader.read(image)
    return str(caught.value)


def noise(height: int = 12, width: int = 16, channels: int = 3, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels)).astype(np.uint8)


# one image


def test_modes_of_pil_images_become_rgb() -> None:
    palette = Image.new("P", (1, 1), 1)
    palette.putpalette([9, 9, 9, 255, 0, 0])
    found = {
        "RGB": pixels_of(Image.new("RGB", (1, 1), RED)),
        "L": pixels_of(Image.new("L", (1, 1), 7)),
        "1": pixels_of(Image.new("1", (1, 1), 1)),
        "P": pixels_of(palette),
        "CMYK": pixels_of(Image.new("CMYK", (1, 1), (0, 255, 255, 0))),
    }
    red = [[[255, 0, 0]]]
    assert found == {"RGB": red, "L": [[[7] * 3]], "1": [[[255] * 3]], "P": red, "CMYK": red}


def test_transparent_parts_become_white() -> None:
    # black under full transparency, red half transparent, red
    rgba = Image.new("RGBA", (3, 1))
    for place, color in enumerate([(0, 0, 0, 0), (255, 0, 0, 128), (255, 0, 0, 255)]):
        rgba.putpixel((place, 0), color)
    assert pixels_of(rgba) == [[[255, 255, 255], [255, 127, 127], [255, 0, 0]]]
    assert pixels_of(Image.new("LA", (1, 1), (0, 0))) == [[[255, 255, 255]]]
    palette = Image.new("P", (1, 1), 1)
    palette.putpalette([0, 0, 0, 255, 0, 0])
    palette.info["transparency"] = 1
    assert pixels_of(palette) == [[[255, 255, 255]]]


def test_of_16_bits_the_upper_8_are_kept() -> None:
    deep = Image.fromarray(np.array([[0, 255, 256, 65535]], dtype=np.uint16))
    assert deep.mode == "I;16"
    assert [pixel[0] for pixel in pixels_of(file_image(deep))[0]] == [0, 0, 1, 255]


def test_images_of_floats_are_read_as_arrays() -> None:
    assert pixels_of(Image.new("F", (1, 1), 8.0)) == [[[8, 8, 8]]]
    assert "found 0 to 300" in refusal(ImageReader(), Image.fromarray(np.array([[0, 300]], dtype=np.float32)))
    assert "found 0 to 70000" in refusal(ImageReader(), Image.fromarray(np.array([[0, 70000]], dtype=np.int32)))


def test_a_reader_of_one_channel() -> None:
    image = Image.fromarray(noise())
    grey = np.asarray(image.convert("L")).tolist()
    for given_as in (noise(), image, file_image(image), np.asarray(image.convert("L"))[..., None]):
        assert pixels_of(given_as, "L") == grey


def test_the_mean_tells_the_channels() -> None:
    assert ImageReader.of(ViTImageProcessorPil()).mode == "RGB"
    assert ImageReader.of(ViTImageProcessorPil(image_mean=[0.5], image_std=[0.5])).mode == "L"
    assert ImageReader.of(ViTImageProcessorPil(**PLAIN)) == ImageReader(resizes=False, rescales=False)


@pytest.mark.parametrize(
    ("shape", "size"),
    [
        ((6, 5), (5, 6)),
        ((6, 5, 3), (5, 6)),
        ((6, 5, 1), (5, 6)),
        ((6, 5, 4), (5, 6)),
        ((3, 6, 5), (5, 6)),
        ((1, 6, 5), (5, 6)),
        ((4, 6, 5), (5, 6)),
        # as many pixels as others have channels
        ((4, 5, 3), (5, 4)),
        ((3, 5, 4), (4, 5)),
        ((1, 5, 3), (5, 1)),
    ],
)
def test_shapes_of_arrays(shape: tuple[int, ...], size: tuple[int, int]) -> None:
    assert ImageReader().read(np.zeros(shape)).size == size


def test_channels_first_and_last_are_the_same_image() -> None:
    last = noise()
    for array in (last, np.moveaxis(last, -1, 0), last.tolist(), last.astype(np.float64), torch.from_numpy(last)):
        assert pixels_of(array) == last.tolist()
    alpha = np.concatenate([noise(), np.full((12, 16, 1), 255, dtype=np.uint8)], axis=2)
    assert pixels_of(alpha) == pixels_of(np.moveaxis(alpha, -1, 0)) == last.tolist()
    assert pixels_of(np.array([[[9, 9, 9, 0]] * 2] * 2)) == [[[255] * 3] * 2] * 2


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (None, "expected an image, found NoneType of object."),
        (True, "expected an image, found bool of bool."),
        ({"pixels": 1}, "expected an image, found dict of object."),
        ([["a"]], "expected an image, found list of <U1."),
        ([[1, 2], [3]], "expected an image, found list that is no array: "),
        (np.zeros((0, 4)), "expected an image, found no pixels (shape (0, 4))."),
        (np.zeros(4), "an image of shape (height, width), (height, width, channels) or (channels, height, width) "),
        (np.zeros((2, 5, 6)), "with 1, 3 or 4 channels, found (2, 5, 6)."),
        (np.zeros((1, 2, 3, 3)), "with 1, 3 or 4 channels, found (1, 2, 3, 3)."),
        (np.zeros((3, 9, 3)), "an image of shape (3, 9, 3): either end could be its channels; give a PIL image."),
        (np.full((5, 5), np.nan), "expected pixels that are finite numbers, found NaN or infinity."),
        (np.full((5, 5), 256), "expected pixels that are whole numbers from 0 to 255, found 256 to 256."),
        (np.full((5, 5), -1), "expected pixels that are whole numbers from 0 to 255, found -1 to -1."),
        (np.full((5, 5), 1.5), "expected pixels that are whole numbers from 0 to 255, found 1.5 to 1.5."),
        (np.full((5, 5), 0.5), "found pixels from 0.5 to 0.5, which the image processor would scale down once more: "),
    ],
)
def test_what_is_no_image_is_refused(image: Any, message: str) -> None:
    assert message in refusal(ImageReader(), image)


def test_what_floats_may_be_depends_on_the_processor() -> None:
    half, centred, many = np.full((5, 5), 0.5), np.full((5, 5, 3), -0.5), np.full((5, 5), 1.5)
    only_resizes = ImageReader(rescales=False)
    assert only_resizes.read(half).shape == (5, 5, 3)
    assert "numbers from 0 to 1, found -0.5 to -0.5" in refusal(only_resizes, centred)
    only_rescales = ImageReader(resizes=False)
    assert only_rescales.read(many).shape == (5, 5, 3)
    assert "numbers from 0 to 255, found -0.5 to -0.5" in refusal(only_rescales, centred)
    neither = ImageReader(resizes=False, rescales=False)
    assert neither.read(centred).dtype == np.float32
    assert neither.read(np.moveaxis(noise() - 0.5, -1, 0)).shape == (12, 16, 3)
    one_channel = ImageReader(mode="L", resizes=False, rescales=False)
    assert one_channel.read(half).shape == (5, 5, 1)
    assert refusal(one_channel, centred) == "expected 1 or 1 channels, found 3."


# files


def test_files_by_name_by_path_and_as_bytes(tmp_path: Path) -> None:
    image = Image.fromarray(noise())
    file = tmp_path / "a.png"
    image.save(file)
    stored: list[Any] = [{"bytes": None, "path": str(file)}, {"bytes": file.read_bytes(), "path": "elsewhere.png"}]
    for given_as in (file, str(file), *stored):
        assert pixels_of(given_as) == noise().tolist()


@pytest.mark.parametrize("quick", [False, True])
def test_images_are_turned_upright(quick: bool) -> None:
    image = Image.fromarray(noise())
    exif = image.getexif()
    # a quarter turn clockwise
    exif[274] = 6
    content = file_of(image, "PNG", exif=exif)
    upright = np.rot90(noise(), -1).tolist()
    assert np.asarray(ImageReader().read({"bytes": content, "path": None}, quick)).tolist() == upright
    assert pixels_of(Image.open(io.BytesIO(content))) == upright
    # which is what datasets gives, where it decodes
    assert np.asarray(datasets.Image().decode_example({"bytes": content, "path": None})).tolist() == upright


def test_broken_files_are_refused_by_name(tmp_path: Path) -> None:
    reader, whole = ImageReader(), file_of(Image.fromarray(noise(80, 80)), "JPEG")
    text = tmp_path / "text.png"
    text.write_text("no image")
    assert refusal(reader, text) == f"the image {text} cannot be read: it is of no kind that pillow knows."
    assert refusal(reader, "nowhere.png").startswith("the image nowhere.png cannot be read: [Errno 2]")
    assert refusal(reader, {"bytes": None, "path": None}).startswith("the image cannot be read: ")
    cut = {"bytes": whole[: len(whole) // 2], "path": None}
    assert refusal(reader, cut).startswith("the image cannot be read: image file is truncated")
    with pytest.raises(InputError, match="image file is truncated"):
        reader.read(cut, quick=True)
    too_large = b"P6 40000 40000 255\n"
    assert "decompression bomb" in refusal(reader, {"bytes": too_large, "path": None})


@given(
    kind=st.sampled_from(["PNG", "JPEG", "GIF", "BMP", "WEBP"]),
    length=st.floats(0, 1),
    changes=st.lists(st.tuples(st.floats(0, 0.999), st.integers(0, 255)), max_size=6),
    quick=st.booleans(),
)
def test_any_damage_is_read_or_refused(
    kind: str, length: float, changes: list[tuple[float, int]], quick: bool
) -> None:
    content = bytearray(file_of(Image.fromarray(noise()), kind))
    content = content[: int(length * len(content))]
    for place, value in changes:
        if content:
            content[int(place * len(content))] = value
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert fate(bytes(content), quick) in ("read", "refused")


def fate(content: bytes, quick: bool) -> str:
    """Whether a file can be read; any exception but the one for input that cannot be used is passed on."""
    try:
        image = ImageReader().read({"bytes": content, "path": None}, quick)
    except InputError:
        return "refused"
    return "read" if image.mode == "RGB" else image.mode


def test_a_quick_look_sees_what_a_full_one_sees() -> None:
    whole = file_of(Image.fromarray(noise(64, 64)), "JPEG")
    fates = [(fate(whole[:length], False), fate(whole[:length], True)) for length in range(0, len(whole) + 1, 97)]
    assert all(full == quick for full, quick in fates)
    assert {full for full, _ in fates} == {"refused"}
    assert (fate(whole, False), fate(whole, True)) == ("read", "read")


def test_without_pillow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "PIL", None)
    assert "pip install 'mt_transformers[vision]'" in refusal(ImageReader(), "a.png")
    with pytest.raises(InputError, match=r"column 'c': images are read with pillow, .* 'mt_transformers\[vision\]'"):
        check_media_feature("column 'c'", "images", datasets.Image())


def test_everything_but_images_works_without_pillow(tmp_path: Path) -> None:
    ViTImageProcessorPil().save_pretrained(tmp_path)
    code = """
import sys
sys.modules["PIL"] = None
import mt_transformers
from mt_transformers.data import load_processing
from mt_transformers.errors import InputError
from fixtures import tiny_model, tiny_tokenizer
from mt_transformers.inference import MultiTaskPredictor
print(list(MultiTaskPredictor(tiny_model(), tiny_tokenizer())(["play"])[0]))
try:
    load_processing(sys.argv[1], ["encoded_image"])
except InputError as error:
    print(error)
"""
    tests = Path(__file__).resolve().parents[1]
    run = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tests), str(tests.parent)])},
    )
    assert run.returncode == 0, run.stderr[-2000:]
    answered, refused = run.stdout.splitlines()[0], run.stdout
    assert answered == "['intent', 'slots', 'stars']"
    assert "pillow" in refused
    assert "the extra 'vision'" in refused


# batches of images


def test_images_of_all_sizes_and_modes_in_one_batch(tmp_path: Path) -> None:
    file = tmp_path / "a.png"
    Image.fromarray(noise(30, 20)).save(file)
    images = [
        Image.new("L", (5, 9), 3),
        Image.new("RGBA", (7, 7), (1, 2, 3, 255)),
        noise(9, 9).astype(np.float32),
        np.moveaxis(noise(8, 10), -1, 0),
        noise(8, 8, 1)[..., 0].tolist(),
        str(file),
    ]
    for image_processor in (
        ViTImageProcessorPil(size={"height": 8, "width": 8}),
        CLIPImageProcessorPil(size={"shortest_edge": 8}, crop_size={"height": 8, "width": 8}),
    ):
        processing = Processing(image_processor=image_processor)
        found = processing.pixels(images)
        assert set(found) == {"pixel_values"}
        assert found["pixel_values"].shape == (6, 3, 8, 8)
        assert found["pixel_values"].dtype == torch.float32
        for place, image in enumerate(images):
            torch.testing.assert_close(found["pixel_values"][place], processing.pixels([image])["pixel_values"][0])


def test_pixels_exactly() -> None:
    processing = Processing(image_processor=ViTImageProcessorPil(do_resize=False))
    found = processing.pixels([np.array([[0, 255], [51, 102]])])["pixel_values"]
    torch.testing.assert_close(found[0], torch.tensor([[-1.0, 1.0], [-0.6, -0.2]]).expand(3, 2, 2))
    grey = Processing(image_processor=ViTImageProcessorPil(do_resize=False, image_mean=[0.5], image_std=[0.5]))
    assert grey.pixels([Image.new("RGB", (2, 2), WHITE)])["pixel_values"].tolist() == [[[[1.0] * 2] * 2]]


def test_floats_from_0_to_1_need_no_rescaling() -> None:
    size = {"height": 6, "width": 6}
    expected = Processing(image_processor=ViTImageProcessorPil(size=size)).pixels([noise()] * 2)["pixel_values"]
    plain = Processing(image_processor=ViTImageProcessorPil(size=size, do_rescale=False))
    found = plain.pixels([noise() / 255, np.moveaxis(noise() / 255, -1, 0)])["pixel_values"]
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


def test_what_is_not_rescaled_becomes_float_too() -> None:
    processing = Processing(image_processor=ViTImageProcessorPil(**PLAIN))
    found = processing.pixels([Image.new("RGB", (2, 2), RED)])["pixel_values"]
    assert found.dtype == torch.float32
    assert found[0, :, 0, 0].tolist() == [255, 0, 0]


def test_sizes_that_do_not_fit_together_are_refused() -> None:
    processing = Processing(image_processor=ViTImageProcessorPil(do_resize=False))
    with pytest.raises(InputError, match="the image processor cannot prepare these images"):
        processing.pixels([noise(8, 8), noise(8, 9)])


def test_padded_images_have_a_mask() -> None:
    processing = Processing(image_processor=ViltImageProcessorPil(size={"shortest_edge": 8}, size_divisor=4))
    found = processing.pixels([noise(8, 8), noise(8, 16)])
    assert found["pixel_values"].shape == (2, 3, 8, 12)
    assert found["pixel_mask"].sum(dim=(1, 2)).tolist() == [64, 48]


# rows of a task


def prepare(images: list[Any], feature: Any, split: str = "train", **options: Any) -> Dataset:
    """Rows with a column `photo` and labels, prepared as task `t` for an image processor to 4 x 4 pixels."""
    rows = rows_of(images, feature)
    task = Task(dataset={split: rows}, inputs={"images": "photo"}, labels={"color": "label"})
    load_splits("t", task)
    processor = ViTImageProcessorPil(size={"height": 4, "width": 4}, **options)
    return prepare_split("t", task, split, rows, {"color": get_head_config("color", COLORS)}, processor)


def rows_of(images: list[Any], feature: Any) -> Dataset:
    features = Features({"photo": feature, "images": Value("string"), "label": ClassLabel(names=["red", "blue"])})
    columns = {"photo": images, "images": ["another column"] * len(images)}
    return Dataset.from_dict({**columns, "label": [i % 2 for i in range(len(images))]}, features=features)


def batch_of(prepared: Any, **options: Any) -> dict[str, Any]:
    processor = ViTImageProcessorPil(size={"height": 4, "width": 4}, **options)
    rows = list(prepared)
    return DataCollatorForMultiTask(processor, {"color": get_head_config("color", COLORS)})(rows)


@pytest.mark.parametrize(
    ("feature", "images"),
    [
        (datasets.Image(), [Image.new("RGB", (9, 5), RED), Image.new("RGB", (4, 4), BLUE)]),
        (Array3D((4, 4, 3), "uint8"), [np.full((4, 4, 3), RED), np.full((4, 4, 3), BLUE)]),
        (Array3D((3, 4, 4), "int64"), [np.full((4, 4, 3), RED).T, np.full((4, 4, 3), BLUE).T]),
        (List(List(List(Value("float32")))), [[[list(RED)] * 4] * 4, [[list(BLUE)] * 2] * 5]),
    ],
)
def test_columns_of_images(feature: Any, images: list[Any]) -> None:
    prepared = prepare(images, feature)
    assert sorted(prepared.column_names) == ["images", "labels_color", "length"]
    assert prepared["length"][:] == [1, 1]
    batch = batch_of(prepared)
    torch.testing.assert_close(batch["pixel_values"][0, :, 0, 0], torch.tensor([1.0, -1.0, -1.0]))
    torch.testing.assert_close(batch["pixel_values"][1, :, 0, 0], torch.tensor([-1.0, -1.0, 1.0]))
    assert batch["labels"]["color"].tolist() == [0, 1]


@pytest.mark.parametrize("feature", [Array2D((2, 2), "uint8"), List(List(Value("int64")))])
def test_columns_of_grey_arrays(feature: Any) -> None:
    batch = batch_of(prepare([[[0, 0], [0, 0]], [[255, 255], [255, 255]]], feature))
    assert batch["pixel_values"].flatten(1).unique(dim=1).tolist() == [[-1.0], [1.0]]


def test_arrays_are_read_as_arrays() -> None:
    prepared = prepare([np.full((4, 4, 3), RED)] * 3, Array3D((4, 4, 3), "uint8"))
    assert isinstance(prepared[0]["images"], np.ndarray)
    assert isinstance(prepared.select([2, 1])[0]["images"], np.ndarray)
    assert type(prepared[0]["labels_color"]) is int


def test_a_mode_that_was_asked_for_is_kept() -> None:
    rows = rows_of([Image.new("RGB", (4, 4), RED)], datasets.Image()).cast_column("photo", datasets.Image(mode="L"))
    task = Task(dataset={"train": rows}, inputs={"images": "photo"}, labels={"color": "label"})
    heads = {"color": get_head_config("color", COLORS)}
    values = batch_of(prepare_split("t", task, "train", rows, heads, ViTImageProcessorPil()))["pixel_values"]
    assert values.unique().tolist() == [pytest.approx(76 / 127.5 - 1)]


@pytest.mark.parametrize(
    ("feature", "images", "message"),
    [
        (datasets.Image(), [Image.new("L", (2, 2)), None], "expected images, found None."),
        (datasets.Image(), [Image.new("L", (2, 2)), {"bytes": b"no", "path": None}], "the image cannot be read: "),
        (datasets.Image(), [Image.new("L", (2, 2)), "nowhere.png"], "the image nowhere.png cannot be read: "),
        (List(List(Value("int64"))), [[[1]], [[256]]], "expected pixels that are whole numbers from 0 to 255"),
        (List(List(Value("float64"))), [[[1]], [[0.5]]], "would scale down once more"),
        (List(List(Value("int64"))), [[[1]], None], "expected images, found None."),
        (List(List(Value("int64"))), [[[1]], [[1, 2], [3]]], "expected an image"),
        (List(List(Value("int64"))), [[[1]], []], "expected an image"),
    ],
)
def test_a_broken_image_is_named_by_its_row(feature: Any, images: list[Any], message: str) -> None:
    # more than one batch of the check
    with pytest.raises(InputError) as caught:
        prepare([images[0]] * 20 + [images[1], images[0]], feature, split="test")
    assert str(caught.value).startswith("task 't', split 'test', column 'photo', row 20: ")
    assert message in str(caught.value)


def test_a_check_belongs_to_its_processor() -> None:
    rows = [[[0.5]], [[0.25]]]
    prepare(rows, List(List(Value("float64"))), do_rescale=False)
    with pytest.raises(InputError, match="would scale down once more"):
        prepare(rows, List(List(Value("float64"))))


def test_files_are_not_copied(tmp_path: Path) -> None:
    images = [Image.fromarray(noise(200, 200, seed=seed)) for seed in range(3)]
    rows_of(images, datasets.Image()).save_to_disk(tmp_path)
    rows = datasets.load_from_disk(tmp_path)
    task = Task(dataset={"train": rows}, inputs={"images": "photo"}, labels={"color": "label"})
    prepare_split("t", task, "train", rows, {"color": get_head_config("color", COLORS)}, ViTImageProcessorPil())
    written = {file.name: file.stat().st_size for file in tmp_path.glob("*.arrow")}
    assert len(written) > 1
    assert sum(size > 20_000 for size in written.values()) == 1


def test_streams_give_the_same_batches(tmp_path: Path) -> None:
    images = [Image.new("RGB", (9, 5), RED), Image.new("RGB", (4, 4), BLUE)]
    rows = rows_of(images, datasets.Image())
    task = Task(dataset={"train": rows.to_iterable_dataset()}, inputs={"images": "photo"}, labels={"color": "label"})
    heads = {"color": get_head_config("color", COLORS)}
    processor = ViTImageProcessorPil(size={"height": 4, "width": 4})
    stream = prepare_stream("t", task, rows.to_iterable_dataset(), heads, processor)
    expected = batch_of(prepare(images, datasets.Image()))["pixel_values"]
    torch.testing.assert_close(batch_of(stream)["pixel_values"], expected)
    broken = rows_of([images[0], {"bytes": b"no", "path": None}], datasets.Image()).to_iterable_dataset()
    with pytest.raises(InputError, match="task 't', split 'train', column 'photo', row 1: the image cannot be read"):
        list(prepare_stream("t", task, broken, heads, processor))


# what a task may be


@pytest.mark.parametrize(
    "feature",
    [
        datasets.Image(),
        Array2D((8, 8), "float32"),
        Array3D((3, 8, 8), "uint8"),
        List(List(Value("int8"))),
        List(List(List(Value("uint8")))),
    ],
)
def test_features_of_images(feature: Any) -> None:
    check_media_feature("column 'c'", "images", feature)


@pytest.mark.parametrize(
    ("feature", "hint"),
    [
        (Value("string"), "; cast_column('...', Image()) makes images of file names"),
        (Value("int64"), ""),
        (List(Value("int64")), ""),
        (List(List(Value("string"))), ""),
        (List(datasets.Image()), ""),
        (datasets.Array4D((1, 3, 8, 8), "uint8"), ""),
        (Array2D((8, 8), "bool"), ""),
        (ClassLabel(names=["a"]), ""),
        (datasets.Audio(), ""),
    ],
)
def test_other_features_are_refused(feature: Any, hint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mt_transformers.data.media_columns.find_spec", lambda name: name)
    with pytest.raises(InputError) as caught:
        check_media_feature("column 'c'", "images", feature)
    assert str(caught.value) == f"column 'c': expected images, as Image or as arrays, found {feature}{hint}."


def test_a_column_of_file_names_is_refused_with_its_task() -> None:
    rows = Dataset.from_dict({"photo": ["a.png"], "label": [0]})
    task = Task(dataset={"train": rows}, inputs={"images": "photo"}, labels={"color": "label"})
    with pytest.raises(InputError, match="task 't', split 'train', column 'photo': expected images, as Image or as"):
        load_splits("t", task)


def test_images_on_a_backbone_of_text_are_refused(tmp_path: Path) -> None:
    rows = rows_of([Image.new("L", (2, 2))], datasets.Image())
    heads = {"color": {"head_type": "sequence_classification", "id2label": ["red", "blue"]}}
    task = Task(dataset={"train": rows}, inputs={"images": "photo"}, labels={"color": "label"})
    args = MultiTaskTrainingArguments(output_dir=str(tmp_path), use_cpu=True, report_to=[])
    with pytest.raises(InputError, match="task 't' reads images, but a 'bert' backbone gives encoded_text"):
        MultiTaskTrainer(tiny_model(heads), args, tasks={"t": task}, processing_class=tiny_tokenizer())


def test_a_head_that_reads_text_cannot_learn_from_images() -> None:
    rows = rows_of([Image.new("L", (2, 2))], datasets.Image())
    task = Task(dataset={"train": rows}, inputs={"images": "photo"}, labels={"color": "label"})
    fields = {"head_type": "sequence_classification", "id2label": ["red", "blue"], "input": "encoded_text"}
    heads = {"color": get_head_config("color", fields)}
    with pytest.raises(InputError, match="task 't', head 'color' reads encoded_text, but the task's input is images"):
        prepare_split("t", task, "train", rows, heads, ViTImageProcessorPil())


def test_a_processor_is_loaded(tmp_path: Path) -> None:
    ViTImageProcessorPil(size={"height": 4, "width": 4}).save_pretrained(tmp_path)
    processing = Processing.of(load_processing(str(tmp_path), ["encoded_image"]))
    assert processing.pixels([noise()])["pixel_values"].shape == (1, 3, 4, 4)
