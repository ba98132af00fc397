import json

import numpy as np
import pytest
from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPProcessor, CLIPTokenizer

from formats.prepared_folder import FramePair
from metrics.measures.clip_similarity import ClipSimilarity
from tests.metrics.conftest import noisy_picture

PAIR = FramePair("t/0/0-50", "0000000", "000000", "stack")


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory):
    """A CLIP of two tiny towers with random weights, in Hugging Face's layout."""
    folder = tmp_path_factory.mktemp("clip")
    tokens = ["<|startoftext|>", "<|endoftext|>", *"stack", *(f"{letter}</w>" for letter in "stack")]
    vocabulary = {token: i for i, token in enumerate(dict.fromkeys(tokens))}
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    tokenizer = CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"))
    shape = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    text = shape | {"vocab_size": len(tokenizer), "bos_token_id": 0, "eos_token_id": 1}
    config = CLIPConfig(text_config=text, vision_config=shape | {"image_size": 16, "patch_size": 8}, projection_dim=8)
    CLIPModel(config).save_pretrained(folder)
    size = {"shortest_edge": 16}
    CLIPProcessor(CLIPImageProcessor(size=size, crop_size={"height": 16, "width": 16}), tokenizer).save_pretrained(
        folder
    )
    return folder


def test_truth_is_like_itself_and_similarities_are_cosines(clip_folder):
    meter = ClipSimilarity(str(clip_folder))
    truth = noisy_picture(0, 32)
    same = meter.measure(PAIR, truth, truth)
    other = meter.measure(PAIR, np.zeros_like(truth), truth)
    assert same["clip_image"] == pytest.approx(100.0, abs=1e-3)
    assert other["clip_image"] < same["clip_image"]
    assert all(abs(value) <= 100.001 for value in (*same.values(), *other.values()))
    assert set(same) == set(meter.keys)


def test_the_sentence_counts(clip_folder):
    meter = ClipSimilarity(str(clip_folder))
    frames = noisy_picture(0, 32), noisy_picture(1, 32)
    other = FramePair("t/0/0-50", "0000000", "000000", "cat")
    assert meter.measure(PAIR, *frames)["clip_text"] != meter.measure(other, *frames)["clip_text"]


def test_version_names_folder_and_configuration(clip_folder):
    assert ClipSimilarity(str(clip_folder)).version.startswith(str(clip_folder))
    assert ClipSimilarity("some/name").version == "some/name"
