"""What the four papers print, table by table, as it stands in them. No code but data classes.

Source: the four papers (action frame prediction, action-conditioned prediction, light future, instruct morpheus).
`recipe` is the label by which a run of ours takes a row; `task` None is the mean over the tasks. Numbers are copied,
not judged: README says under which convention they can be read.
"""

from dataclasses import dataclass

HAMMER, HANDOVER, STACK = "block_hammer_beat", "block_handover", "blocks_stack_easy"
ALIASES = {"beat_block_hammer": HAMMER, "handover_block": HANDOVER, "stack_blocks_two": STACK}  # RoboTwin 2.0's names


@dataclass(frozen=True)
class PrintedScore:
    """One row of a table of scores."""

    name: str
    recipe: str
    task: str | None
    ssim: float
    psnr: float


@dataclass(frozen=True)
class ScoreSheet:
    """A table of SSIM and PSNR."""

    number: str
    title: str
    rows: tuple[PrintedScore, ...]


@dataclass(frozen=True)
class FactSheet:
    """A table of other things: settings, parameters, seconds.

    `ours` names what a run of ours puts beside a row: a key of its config ("config:model.params.learning_rate"), of
    run.json ("run:steps") or its last part ("part:device"; "part:seconds" is the sum of all parts), of benchmark.json
    ("benchmark:seconds_15_frames"), the largest or last value of a curve ("curve:gpu_memory_gib", "last:train/loss"), a
    score ("score:psnr"), or "data".
    """

    number: str
    title: str
    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    ours: tuple[str | None, ...] = ()  # one a row
    own_row: str | None = None  # or: one more row for our runs, of these sources joined by "|"


@dataclass(frozen=True)
class Paper:
    """The tables of one paper, and the convention its scores were computed in, as far as can be told."""

    name: str
    title: str
    convention: str
    sheets: tuple[ScoreSheet | FactSheet, ...]

    @property
    def recipes(self) -> list[str]:
        """Labels that a run may have."""
        sheets = [sheet for sheet in self.sheets if isinstance(sheet, ScoreSheet)]
        return list(dict.fromkeys(row.recipe for sheet in sheets for row in sheet.rows))


def _scores(recipe: str, **tasks: tuple[float, float]) -> tuple[PrintedScore, ...]:
    return tuple(PrintedScore(task, recipe, task, ssim, psnr) for task, (ssim, psnr) in tasks.items())


def _acp(prefix: str, recipe: str, task: str, ssim: float, psnr: float) -> PrintedScore:
    short = {HAMMER: "block_hammer_beat", STACK: "stack_easy", HANDOVER: "handover_blocks"}[task]
    return PrintedScore(f"{prefix}_{short}", recipe, task, ssim, psnr)


AFP = Paper(
    "afp",
    "AI Model for Robotic Action Frame Prediction",
    "not stated; the predictions that its authors published score 60.7 dB as published, 12.6 dB properly",
    (
        ScoreSheet(
            "1",
            "Performance metrics for different tasks",
            (
                *_scores(
                    "afp", block_hammer_beat=(0.97, 38.5), block_handover=(0.98, 40.1), blocks_stack_easy=(0.95, 37.8)
                ),
                PrintedScore("average (abstract)", "afp", None, 0.978, 42.88),
            ),
        ),
        FactSheet(
            "S5",
            "Training run",
            ("", "printed"),
            (
                ("Train loss (simple)", "0.055"),
                ("Validation loss (simple)", "0.0387"),
                ("Peak GPU memory", "17.7 GB per GPU"),
                ("Learning rate", "1e-4"),
                ("Resolution", "256"),
                ("Batch size per GPU", "2"),
                ("Accumulated batches", "8"),
            ),
            (
                "last:train/loss_simple",
                "last:val/loss_simple",
                "curve:gpu_memory_gib",
                "config:model.params.learning_rate",
                "config:resolution",
                "config:data.params.batch_size",
                "config:lightning.trainer.accumulate_grad_batches",
            ),
        ),
    ),
)

ACP = Paper(
    "acp",
    "Action-conditioned frame prediction",
    "proper",
    (
        ScoreSheet(
            "1",
            "Fine-tuning and full training",
            (
                _acp("Original_FT", "Original FT", HAMMER, 0.6498, 10.4372),
                _acp("Fine-tuning_1", "Fine-tuning 1", HAMMER, 0.6670, 11.7406),
                _acp("Fine-tuning_2", "Fine-tuning 2", HAMMER, 0.6568, 11.8213),
                _acp("Original_FT", "Original FT", STACK, 0.5948, 9.5843),
                _acp("Fine-tuning_1", "Fine-tuning 1", STACK, 0.5856, 10.0733),
                _acp("Fine-tuning_2", "Fine-tuning 2", STACK, 0.5816, 10.0408),
                _acp("Original_FT", "Original FT", HANDOVER, 0.5393, 8.2371),
                _acp("Fine-tuning_1", "Fine-tuning 1", HANDOVER, 0.5050, 9.1933),
                _acp("Fine-tuning_2", "Fine-tuning 2", HANDOVER, 0.4778, 8.149),
                _acp("Original_Tr", "Original Tr", HAMMER, 0.6526, 10.3879),
                _acp("Training_1", "Training 1", HAMMER, 0.3804, 9.9207),
                _acp("Training_2", "Training 2", HAMMER, 0.6169, 12.9143),
                _acp("Original_Tr", "Original Tr", STACK, 0.5935, 9.5801),
                _acp("Training_1", "Training 1", STACK, 0.7244, 13.1432),
                _acp("Training_2", "Training 2", STACK, 0.7419, 14.5552),
                _acp("Original_Tr", "Original Tr", HANDOVER, 0.5384, 8.2207),
                _acp("Training_1", "Training 1", HANDOVER, 0.7557, 15.2098),
                _acp("Training_2", "Training 2", HANDOVER, 0.7767, 16.2329),
            ),
        ),
        FactSheet(
            "2",
            "Key training and fine-tuning parameters",
            ("", "Fine-tuning 1", "Fine-tuning 2", "Training 1", "Training 2"),
            (
                (
                    "Pretrained model",
                    "instruct-pix2pix",
                    "instruct-pix2pix",
                    "stable-diffusion-v1-5",
                    "stable-diffusion-v1-5",
                ),
                ("Mixed precision", "fp16", "fp16", "fp16", "fp16"),
                ("Resolution", "128", "128", "256", "256"),
                ("Train batch size", "8", "8", "4", "8"),
                ("Gradient accumulation steps", "4", "4", "4", "4"),
                ("Number of training epochs", "10", "50", "32", "30"),
                ("Checkpointing steps", "2000", "5000", "5000", "5000"),
                ("Learning rate", "5e-06", "5e-06", "5e-05", "1e-04"),
                ("Seed", "42", "42", "42", "42"),
            ),
            (
                "config:pretrained.name",
                "config:lightning.trainer.precision",
                "config:resolution",
                "config:data.params.batch_size",
                "config:lightning.trainer.accumulate_grad_batches",
                "config:lightning.trainer.max_epochs",
                "config:lightning.checkpoint.every_n_steps",
                "config:model.params.learning_rate",
                "config:seed",
            ),
        ),
    ),
)

LIGHT_FUTURE = Paper(
    "light_future",
    "Light Future",
    "as published (54 to 59 dB are not possible for 8-bit frames that move)",
    (
        FactSheet(
            "1",
            "Model parameters and VRAM for fine-tuning",
            ("Model", "Parameters", "VRAM (fine-tuning)"),
            (
                ("InstructPix2Pix", "~1.5B", "24-40GB"),
                ("LVD", "~1-3B", "48-80GB+"),
                ("VDM", "~500M-2B", "32-64GB+"),
                ("Flamingo-3B", "3B", "80GB+"),
            ),
            own_row="benchmark:parameters|curve:gpu_memory_gib",
        ),
        ScoreSheet(
            "2",
            "First stage, test set",
            (
                PrintedScore("10 epochs", "stage 1, 10 epochs", None, 0.9391, 54.30),
                PrintedScore("50 epochs", "stage 1, 50 epochs", None, 0.9794, 59.19),
            ),
        ),
        ScoreSheet(
            "3",
            "Second stage",
            (
                PrintedScore("2 epochs", "stage 2, 2 epochs", None, 0.9766, 58.04),
                PrintedScore("10 epochs", "stage 2, 10 epochs", None, 0.9823, 59.41),
            ),
        ),
        FactSheet(
            "4",
            "Frame prediction models (each on its own data set)",
            ("Model", "Dataset", "SSIM", "PSNR"),
            (
                ("ConvLSTM", "Moving MNIST", "0.75", "28.5"),
                ("VDM", "UCF-101", "0.87", "35.7"),
                ("LVD", "Kinetics-600", "0.89", "36.5"),
                ("Flamingo-3B", "SSv2", "0.72", "28.3"),
                ("MAGVITv2", "BAIR", "0.91", "37.2"),
                ("MCVD", "RoboNet", "0.89", "36.8"),
                ("InstructPix2Pix (FT)", "RoboTwin", "0.98", "59.0"),
            ),
            own_row="data|score:ssim|score:psnr",
        ),
        FactSheet(
            "5",
            "Seconds for 15 frames",
            ("Model", "Parameters", "Inference time"),
            (
                ("VDM", "2B", "6-8 min"),
                ("LVD", "3B", "10-12 min"),
                ("Flamingo-3B", "3B", "15+ min"),
                ("MAGVITv2", "1.2B", "4-6 min"),
                ("MCVD", "1.5B", "6 min"),
                ("InstructPix2Pix (FT)", "1.5B", "38 s"),
            ),
            own_row="benchmark:parameters|benchmark:seconds_15_frames",
        ),
    ),
)

MORPHEUS = Paper(
    "morpheus",
    "InstructMorpheus-Robo",
    "as published (60 to 62 dB are not possible for 8-bit frames that move)",
    (
        ScoreSheet(
            "2",
            "Quantitative performance for different tasks",
            _scores(
                "morpheus",
                blocks_stack_easy=(0.9914, 60.23),
                block_hammer_beat=(0.9938, 61.22),
                block_handover=(0.9955, 62.36),
            ),
        ),
        FactSheet(
            "3",
            "Experiment configuration summary",
            ("Parameter", "printed"),
            (
                ("GPU", "2x NVIDIA RTX 3090 (24GB)"),
                ("Core system", "Python 3.8.20, PyTorch Lightning 1.9.0, Linux 6.8.0-52, CUDA 12.8"),
                ("Batch size", "effective 16 (2 per GPU x 8 accumulated)"),
                ("Optimisation: learning rate", "AdamW, 1e-4"),
                ("Epochs", "100"),
                ("Duration", "1.9 hours (26.7-67.0 s/epoch)"),
                ("U-Net channels", "320"),
                ("Attention heads", "8"),
                ("Resolution", "256"),
                ("Trainable parameters", "896M"),
                ("Samples", "602 (hammer 100, handover 204, stack 298)"),
                ("Random flip", "10%"),
                ("Performance", "PSNR 60-62 dB, SSIM 0.96-0.99"),
            ),
            (
                "part:device",
                "part:pytorch_lightning",
                "config:data.params.batch_size",
                "config:model.params.learning_rate",
                "config:lightning.trainer.max_epochs",
                "part:seconds",
                "config:model.params.unet_config.params.model_channels",
                "config:model.params.unet_config.params.num_heads",
                "config:resolution",
                "benchmark:parameters",
                None,
                "config:data.params.train.params.flip",
                "score:psnr",
            ),
        ),
    ),
)

PAPERS = {paper.name: paper for paper in (AFP, ACP, LIGHT_FUTURE, MORPHEUS)}
