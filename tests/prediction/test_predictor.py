"""Laws of prediction."""

from collections import Counter
from dataclasses import replace
from functools import partial

import pytest
import torch

from formats.prepared_folder import read_manifest, write_manifest
from ldm.data.frame_pairs import read_pair_picture
from ldm.data.neighbours import Neighbours
from ldm.data.pixels import array_to_tensor, to_signed, to_uint8
from ldm.models.diffusion.sampling import SAMPLERS, SamplingOptions, make_sampler
from ldm.modules.attention import BasicTransformerBlock
from ldm.util import instantiate_from_config
from prediction.model_request import BUNDLED
from prediction.predictor import (
    FramePredictor,
    Runtime,
    default_runtime,
    seed_of,
    tune_for_inference,
)
from stable_diffusion.checkpoint_config import for_prediction, read_config
from stable_diffusion.load import load_pretrained


@pytest.fixture
def predictor(tiny_model_config):
    torch.manual_seed(0)
    model = instantiate_from_config(tiny_model_config, "model").eval()
    with torch.no_grad():
        for parameter in model.model.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape))
    return FramePredictor(model, 8, SamplingOptions(steps=3, text_scale=2.0, image_scale=1.5), horizon=4)


@pytest.fixture
def timed(tiny_model_config):
    """A predictor whose model takes seconds and foresees three numbers, with random weights."""
    torch.manual_seed(0)
    params = tiny_model_config["params"] | {"horizon_channels": 8, "training_steps": 1, "predict_change": True}
    encoder = {"channels": 8, "keypoints": 2, "blocks": 1, "values": 2}
    sizes = {"state": 3, "text": 16, "ahead": 8, "hidden": 16, "layers": 2, "rank": 1, "doubt": 0.5, "reveal": 0.5}
    foresight = {"target": "ldm.modules.foresight.Foresight", "params": {"encoder": encoder, **sizes}}
    blend = {"latent_size": 4, "mask_channels": 4, "scale_factor": 1.0, "adm_in_channels": 14}
    blend["model_channels"] = 64  # two channels a normalised group: of one alone, what is added to it would be lost
    unet = params["unet_config"]["params"] | blend | {"foresight_config": foresight, "sees_noise": False}
    params["unet_config"] = {"target": "ldm.modules.diffusionmodules.blending.BlendingUNet", "params": unet}
    model = instantiate_from_config({**tiny_model_config, "params": params}, "model").eval()
    with torch.no_grad():
        for parameter in model.model.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape))
    options = SamplingOptions(steps=1, text_scale=1.0, image_scale=1.0)
    return FramePredictor(model, 8, options, seconds=2.0, seconds_range=(0.2, 6.0))


def anew(predictor):
    """A predictor that has seen no sentence, of a model whose weights changed."""
    return FramePredictor(predictor.model, predictor.resolution, predictor.options)


@pytest.fixture
def frames():
    return torch.randint(0, 256, (3, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_prediction_depends_on_its_seed_and_sentence_and_not_on_its_batch(predictor, frames, sampler):
    """By every sampler; the same through a call's options as through the predictor's."""
    sentences = ["stack blocks", "handover the blocks", "stack blocks"]
    options = replace(predictor.options, sampler=sampler)
    together = predictor.predict(frames, sentences, [7, 8, 9], options=options)
    assert together.dtype == torch.uint8 and together.shape == frames.shape
    again = FramePredictor(predictor.model, 8, options)
    alone = again.predict(frames[1:2], sentences[1:2], [8])
    assert (together[1].int() - alone[0].int()).abs().max() <= 1, "rounding may differ in one grey level"
    assert torch.equal(together, again.predict(frames, sentences, [7, 8, 9]))
    assert not torch.equal(together, again.predict(frames, sentences, [1, 2, 3]))
    assert not torch.equal(alone, again.predict(frames[1:2], ["stack blocks"], [8]))


def test_network_and_text_encoder_are_called_as_seldom_as_can_be(predictor, frames, monkeypatch):
    """Dual guidance: one network call a step; a repeated sentence is embedded once, the null sentence once."""
    calls = {"network": 0, "sentences": 0}
    network, text = predictor.model.apply_model, predictor.model.cond_stage_model.forward

    def count_network(*args):
        calls["network"] += 1
        return network(*args)

    def count_text(sentences):
        calls["sentences"] += len(sentences)
        return text(sentences)

    monkeypatch.setattr(predictor.model, "apply_model", count_network)
    monkeypatch.setattr(predictor.model.cond_stage_model, "forward", count_text)
    for _ in range(2):
        predictor.predict(frames, ["stack blocks"] * 3, [0, 1, 2])
    assert calls == {"network": 2 * 3, "sentences": 2}


def test_keys_and_values_are_made_once_a_sentence_and_not_once_a_step(predictor, frames):
    """In each cross-attention: three sentences of one batch, the null sentence, a fourth sentence later."""
    blocks = [m for m in predictor.model.model.modules() if isinstance(m, BasicTransformerBlock)]
    made = Counter()
    for block in blocks:
        for layer in (block.attn2.to_k, block.attn2.to_v):
            layer.register_forward_hook(lambda layer, inputs, output: made.update([layer]))
    for sentences in (["a", "b", "a"], ["b", "a", "c"], ["d", "a", "b"]):
        predictor.predict(frames, sentences, [0, 1, 2])
    assert len(made) == 2 * len(blocks) > 0 and set(made.values()) == {len({"", "a", "b", "c", "d"})}


@pytest.mark.parametrize("scales", [{}, {"image_scale": 1.0}, {"text_scale": 1.0, "image_scale": 1.0}])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_predictions_are_those_of_a_model_that_projects_at_every_step(predictor, frames, scales, precision):
    """With three, two and one branches of guidance."""
    tune_for_inference(predictor.model, Runtime(precision))
    options, sentences, seeds = replace(predictor.options, **scales), ["a", "stack", "a"], [4, 5, 6]
    model = predictor.model
    cond = model.get_learned_conditioning(to_signed(frames), sentences)
    plain = to_uint8(model.draw_frames(cond, model.get_null_conditioning(cond), options, seeds))
    assert torch.equal(predictor.predict(frames, sentences, seeds, options=options), plain)


@pytest.mark.slow
def test_the_network_compiles_whole_with_projected_sentences(predictor, frames):
    """One graph without a break, used again for further steps and for other sentences."""
    exact = predictor.predict(frames, ["a", "b", "c"], [0, 1, 2])
    graphs = []
    predictor.model.model.diffusion_model.compile(
        backend=lambda graph, inputs: graphs.append(graph) or graph, fullgraph=True
    )
    assert torch.equal(anew(predictor).predict(frames, ["a", "b", "c"], [0, 1, 2]), exact)
    predictor.predict(frames, ["d", "e", "f"], [0, 1, 2])
    assert len(graphs) == 1


@pytest.mark.parametrize(
    ("sentences", "seeds", "message"),
    [
        (["a", "b", " "], [0, 1, 2], "instruction 2 is empty"),
        (["a"], [0, 1, 2], "1 instructions"),
        (["a"] * 3, [0], "1 seeds"),
    ],
)
def test_bad_requests_are_refused(predictor, frames, sentences, seeds, message):
    with pytest.raises(ValueError, match=message):
        predictor.predict(frames, sentences, seeds)


def test_euler_ancestral_adds_noise_unless_told_otherwise(predictor):
    """eta None is each sampler's own."""
    options = SamplingOptions(steps=3, text_scale=1.0, image_scale=1.0, sampler="euler_ancestral")
    assert make_sampler(predictor.model.schedule, options).eta == 1.0
    assert make_sampler(predictor.model.schedule, replace(options, eta=0.0)).eta == 0.0
    assert make_sampler(predictor.model.schedule, replace(options, sampler="ddim")).eta == 0.0


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"sampler": "heun"}, "not one of ddim"),
        ({"sampler": "dpm_solver", "eta": 0.5}, "adds no noise"),
        ({"rescale": 1.5}, "rescale"),
        ({"interval": (500.0, 100.0)}, "lower first"),
        ({"text_scale": -1.0}, "outside"),
        ({"image_scale": 1e9}, "outside"),
    ],
)
def test_options_that_make_no_sense_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        SamplingOptions(**{"steps": 3, "text_scale": 1.0, "image_scale": 1.0} | wrong)


def test_a_rollout_feeds_predictions_back(predictor, frames):
    """Its first frame is the prediction; its second that of the first, under another seed."""
    rolled = predictor.rollout(frames[:1], ["stack blocks"], [7], 2)
    first = predictor.predict(frames[:1], ["stack blocks"], [7])
    assert rolled.shape == (2, 1, 3, 8, 8) and torch.equal(rolled[0], first)
    assert torch.equal(rolled[1], predictor.predict(first, ["stack blocks"], [seed_of("rollout/1", 7)]))
    with pytest.raises(ValueError, match="wanted 1 to 1000"):
        predictor.rollout(frames[:1], ["stack blocks"], [7], 0)


def test_a_further_horizon_is_the_last_frame_of_a_rollout(predictor, frames):
    """The model sees 4 frames ahead."""
    sentences, seeds = ["a", "b", "c"], [7, 8, 9]
    rolled = predictor.rollout(frames, sentences, seeds, 3)
    assert torch.equal(predictor.predict(frames, sentences, seeds, 12), rolled[-1])
    assert torch.equal(predictor.predict(frames, sentences, seeds, horizon=4), rolled[0])
    assert torch.equal(predictor.predict(frames, sentences, seeds), rolled[0])


@pytest.mark.parametrize("horizon", [-4, 0, 3, 6])
def test_a_horizon_that_predictions_cannot_reach_is_refused(predictor, frames, horizon):
    with pytest.raises(ValueError, match=f"horizon {horizon}: this model predicts 4 frames ahead, and 8, 12, ... by"):
        predictor.predict(frames, ["a"] * 3, [0, 1, 2], horizon=horizon)
    with pytest.raises(ValueError, match="does not say how far ahead"):
        anew(predictor).count_predictions(4)
    assert anew(predictor).count_predictions(None) == 1


def test_progress_sees_each_step_and_may_stop_the_work(predictor, frames):
    seen = []

    def stop_at_two(steps):
        for step in steps:
            seen.append(step)
            if step == 1:
                raise KeyboardInterrupt
            yield step

    with pytest.raises(KeyboardInterrupt):
        predictor.predict(frames, ["a"] * 3, [0, 1, 2], progress=stop_at_two)
    assert seen == [0, 1]


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_predicts_nearly_the_same(predictor, frames, precision):
    """Weights are cast, the schedule is not; pixels move by few of 255 grey levels."""
    exact = predictor.predict(frames, ["stack blocks"] * 3, [0, 1, 2])
    tune_for_inference(predictor.model, Runtime(precision, channels_last=True))
    assert predictor.model.schedule.signal.dtype == torch.float32
    half = anew(predictor).predict(frames, ["stack blocks"] * 3, [0, 1, 2])
    assert (half.float() - exact.float()).abs().mean() < 3.0
    with pytest.raises(ValueError, match="not one of fp32"):
        tune_for_inference(predictor.model, Runtime("int4"))
    assert default_runtime(torch.device("cpu")) == Runtime("fp32", channels_last=False, compile=False)


def test_few_embedded_instructions_are_kept(predictor, frames, monkeypatch):
    """A web page that runs for months must not grow with every sentence typed."""
    monkeypatch.setattr("prediction.predictor.KEPT_INSTRUCTIONS", 3)
    for number in range(5):
        predictor.predict(frames[:1], [f"stack {number}"], [0])
    assert len(predictor._texts) == 3 and "" in predictor._texts


@pytest.mark.slow
def test_compiled_predicts_the_same(predictor, frames):
    exact = predictor.predict(frames, ["stack blocks"] * 3, [0, 1, 2])
    tune_for_inference(predictor.model, Runtime(compile=True))
    compiled = anew(predictor).predict(frames, ["stack blocks"] * 3, [0, 1, 2])
    assert (compiled.int() - exact.int()).abs().max() <= 1


def test_a_network_that_copies_gives_the_future_of_the_nearest_pair(pair_folder):
    """Loaded from the bundled model, which knows no neighbours; a frame's own episode is left out where it is told."""
    folder = pair_folder(size=128)
    pairs = [one for one in read_manifest(folder) if one.episode == 0 or one.source_index != 2]
    write_manifest(folder, pairs, {})
    config, _ = read_config(BUNDLED, None)
    node = config["model"]
    node["params"]["unet_config"]["params"]["neighbours"] = 1
    model = instantiate_from_config(for_prediction(node), "model").eval()
    assert len(load_pretrained(model, BUNDLED, use_ema=True).widened) == 5
    with torch.no_grad():
        model.model.diffusion_model.out[2].bias[192:256] = 1e4  # everything changes
        model.model.diffusion_model.out[2].bias[256:] = 2e4  # to what the neighbour shows
    neighbours = Neighbours(folder, None, 1)
    predictor = FramePredictor(model, 128, SamplingOptions(**config["sampling"]), neighbours=neighbours)
    pair = neighbours.pairs[2]
    frame, future = (array_to_tensor(read_pair_picture(path)) for path in pair.paths(folder))
    predict = partial(predictor.predict, frame[None], [pair.instruction], [0])
    assert torch.equal(predict()[0], future)
    assert not torch.equal(predict(episodes=[("square", pair.episode)])[0], future), "it looked at its own episode"


def test_each_frame_of_a_batch_has_its_own_time(timed, frames):
    """The same as alone, other than at another time, and the config's where none is asked."""
    sentences = ["stack blocks"] * 3
    together = timed.predict(frames, sentences, [0, 0, 0], seconds=[0.5, 2.0, 6.0])
    alone = timed.predict(frames[1:2], sentences[:1], [0])  # 2 s are its own
    assert (together[1].int() - alone[0].int()).abs().max() <= 1
    other = timed.predict(frames[1:2], sentences[:1], [0], seconds=[5.0])
    assert not torch.equal(other, alone)


def test_where_things_will_be_is_foreseen_in_full_precision_whatever_draws_it(timed, frames):
    ask = frames[:1], ["stack blocks"], [0]
    exact = timed.predict(*ask)
    tuned = tune_for_inference(timed.model, Runtime("bf16"))
    assert {p.dtype for p in tuned.foresight.parameters()} == {torch.float32}
    assert tuned.model.diffusion_model.scene.dtype == torch.bfloat16
    half = FramePredictor(tuned, 8, timed.options, seconds=2.0, seconds_range=(0.2, 6.0)).predict(*ask)
    assert (half.int() - exact.int()).abs().float().mean() < 4


def test_samples_differ_where_a_state_is_drawn_and_by_their_seeds_alone(timed, frames):
    ask = frames[:1].expand(2, -1, -1, -1), ["stack blocks"] * 2
    assert len(timed.predict(*ask, [3, 4]).unique(dim=0)) == 1, "the mean knows no seed"
    drawn = timed.predict(*ask, [3, 4], drawn=True)
    assert len(drawn.unique(dim=0)) == 2
    assert torch.equal(timed.predict(*ask, [3, 4], drawn=True), drawn)
    timed.check_samples()


def test_a_time_that_a_model_cannot_draw_is_refused(timed, predictor, frames):
    with pytest.raises(ValueError, match=r"seconds 7: .* 0.2 to 6 seconds"):
        timed.predict(frames[:1], ["a"], [0], seconds=[7.0])
    with pytest.raises(ValueError, match="counts in seconds"):
        timed.predict(frames[:1], ["a"], [0], 4)
    with pytest.raises(ValueError, match=r"seconds 2.5: this model predicts 4 frames ahead"):
        predictor.predict(frames[:1], ["a"], [0], seconds=[2.5])
    predictor.check_samples()  # of several steps


def test_a_model_of_one_step_without_a_foresight_draws_no_samples(tiny_model_config):
    params = tiny_model_config["params"] | {"training_steps": 1}
    model = instantiate_from_config({**tiny_model_config, "params": params}, "model")
    with pytest.raises(ValueError, match="predicts the mean"):
        FramePredictor(model, 8, SamplingOptions(steps=1, text_scale=1.0, image_scale=1.0)).check_samples()
