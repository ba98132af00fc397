"""The published weights that this project knows: names, addresses, sizes, hashes, licences.

`weights` looks them up and fetches them. Sizes and hashes are the hub's own records, as public manifests quote them;
None where no record was found (then the hub is asked at download).
"""

from dataclasses import dataclass
from pathlib import Path

FOLDER = Path("checkpoints")  # in the working directory; where InstructPix2Pix's own scripts look
HUB = "https://huggingface.co"
OPENRAIL = "CreativeML OpenRAIL-M"


@dataclass(frozen=True)
class WeightFile:
    """One file of a set of weights."""

    path: str  # in its repository, or the whole address where there is none
    bytes: int | None = None
    sha256: str | None = None
    name: str | None = None  # name on disk; its path in the repository by default


@dataclass(frozen=True)
class Weights:
    """A published set of weights."""

    what: str
    licence: str
    files: tuple[WeightFile, ...]
    repository: str | None = None  # on the hub; None for files at other addresses
    folder: str | None = None  # of its own under checkpoints/; None for a single file

    @property
    def address(self) -> str:
        """Where a person can look."""
        return f"{HUB}/{self.repository}" if self.repository else self.files[0].path

    def places(self) -> list[Path]:
        """Where its files lie, or are to lie, on this machine."""
        base = FOLDER / self.folder if self.folder else FOLDER
        return [base / (file.name or file.path) for file in self.files]

    def result(self) -> Path:
        """What loading is given: the folder, or the one file."""
        return FOLDER / self.folder if self.folder else self.places()[0]

    def missing(self) -> list[Path]:
        """Files that are not here yet, or have another size than published."""
        pairs = zip(self.files, self.places(), strict=True)
        return [p for f, p in pairs if not p.is_file() or (f.bytes is not None and p.stat().st_size != f.bytes)]


def _diffusers_files(*heavy: WeightFile, tokenizer_config: bool = True) -> tuple[WeightFile, ...]:
    small = ["model_index.json", "scheduler/scheduler_config.json", "tokenizer/vocab.json", "tokenizer/merges.txt"]
    small += ["unet/config.json", "vae/config.json", "text_encoder/config.json"]
    small += ["tokenizer/tokenizer_config.json", "tokenizer/special_tokens_map.json"] if tokenizer_config else []
    return (*heavy, *(WeightFile(path) for path in small))


SD_REPOSITORY = "stable-diffusion-v1-5/stable-diffusion-v1-5"  # the first home, runwayml's, was deleted in 2024
MERGES = WeightFile("merges.txt", 524_619, "9fd691f7c8039210e0fced15865466c65820d09b63988b0174bfe25de299051a")
REGISTRY: dict[str, Weights] = {
    "instruct-pix2pix": Weights(
        "InstructPix2Pix, U-Net with 8 input channels, raw and averaged, with VAE and text encoder (ldm layout)",
        OPENRAIL,
        (
            WeightFile(
                "instruct-pix2pix-00-22000.ckpt",
                None,
                "ffd280ddcfc8234e4d28b93641cb83169cebcb4d70998df9ee2eabb4d705374a",
            ),
        ),
        "timbrooks/instruct-pix2pix",
    ),
    "instruct-pix2pix-diffusers": Weights(
        "InstructPix2Pix in half precision (diffusers layout)",
        OPENRAIL,
        _diffusers_files(
            WeightFile(
                "unet/diffusion_pytorch_model.fp16.safetensors",
                sha256="0d6bbc0a95dd125196d327a660b43d24c56f433eb30d2776f1327fb86bd38f78",
            ),
            WeightFile(
                "vae/diffusion_pytorch_model.fp16.safetensors",
                sha256="4fbcf0ebe55a0984f5a5e00d8c4521d52359af7229bb4d81890039d2aa16dd7c",
            ),
            WeightFile(
                "text_encoder/model.fp16.safetensors",
                sha256="77795e2023adcf39bc29a884661950380bd093cf0750a966d473d1718dc9ef4e",
            ),
        ),
        "timbrooks/instruct-pix2pix",
        "instruct-pix2pix-diffusers",
    ),
    "stable-diffusion-v1-5": Weights(
        "Stable Diffusion v1.5, averaged weights (ldm layout, safetensors)",
        OPENRAIL,
        (
            WeightFile(
                "v1-5-pruned-emaonly.safetensors",
                4_265_146_304,
                "6ce0161689b3853acaa03779ec93eafe75a02f4ced659bee03f50797806fa2fa",
            ),
        ),
        SD_REPOSITORY,
    ),
    "stable-diffusion-v1-5-ckpt": Weights(
        "Stable Diffusion v1.5, averaged weights (ldm layout, the original pickle)",
        OPENRAIL,
        (
            WeightFile(
                "v1-5-pruned-emaonly.ckpt",
                4_265_380_512,
                "cc6cb27103417325ff94f52b7a5d2dde45a7515b25c255d8e396c90014281516",
            ),
        ),
        SD_REPOSITORY,
    ),
    "stable-diffusion-v1-5-diffusers": Weights(
        "Stable Diffusion v1.5 (diffusers layout)",
        OPENRAIL,
        _diffusers_files(
            WeightFile(
                "unet/diffusion_pytorch_model.safetensors",
                3_438_167_540,
                "19da7aaa4b880e59d56843f1fcb4dd9b599c28a1d9d9af7c1143057c8ffae9f1",
            ),
            WeightFile(
                "vae/diffusion_pytorch_model.safetensors",
                334_643_276,
                "a2b5134f4dbc140d9c11f11cba3233099e00af40f262f136c691fb7d38d2194c",
            ),
            WeightFile(
                "text_encoder/model.safetensors",
                492_265_874,
                "d008943c017f0092921106440254dbbe00b6a285f7883ec8ba160c3faad88334",
            ),
        ),
        SD_REPOSITORY,
        "stable-diffusion-v1-5-diffusers",
    ),
    "vae-ft-mse": Weights(
        "Stable Diffusion's autoencoder, decoder fine-tuned for lower squared error",
        "MIT",
        (
            WeightFile(
                "vae-ft-mse-840000-ema-pruned.safetensors",
                334_641_190,
                "735e4c3a447a3255760d7f86845f09f937809baa529c17370d83e4c3758f3c75",
            ),
        ),
        "stabilityai/sd-vae-ft-mse-original",
    ),
    "clip-vit-large-patch14": Weights(
        "tokenizer of CLIP ViT-L/14; its text weights are inside Stable Diffusion's and InstructPix2Pix's files",
        "MIT",
        (WeightFile("vocab.json"), MERGES, WeightFile("tokenizer_config.json"), WeightFile("special_tokens_map.json")),
        "openai/clip-vit-large-patch14",
        "clip-vit-large-patch14",
    ),
    "clip-vit-large-patch14-weights": Weights(
        "CLIP ViT-L/14, text and picture tower",
        "MIT",
        (
            WeightFile(
                "model.safetensors",
                1_710_540_580,
                "a2bf730a0c7debf160f7a6b50b3aaf3703e7e88ac73de7a314903141db026dcb",
                "clip-vit-large-patch14.safetensors",
            ),
        ),
        "openai/clip-vit-large-patch14",
    ),
    "taesd": Weights(
        "tiny autoencoder for quick previews of Stable Diffusion's latents",
        "MIT",
        (
            WeightFile(
                "diffusion_pytorch_model.safetensors",
                9_793_292,
                "db169d69145ec4ff064e49d99c95fa05d3eb04ee453de35824a6d0f325513549",
                "taesd.safetensors",
            ),
        ),
        "madebyollin/taesd",
    ),
    "vgg16": Weights(
        "VGG16 trained on ImageNet (torchvision's), the trunk of LPIPS",
        "BSD-3-Clause",
        (
            WeightFile(
                "https://download.pytorch.org/models/vgg16-397923af.pth",
                553_433_881,
                "397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0",
                "vgg16-397923af.pth",
            ),
        ),
    ),
    "lpips-vgg": Weights(
        "LPIPS v0.1, linear heads on VGG16",
        "BSD-2-Clause",
        (
            WeightFile(
                "https://raw.githubusercontent.com/richzhang/PerceptualSimilarity/master/lpips/weights/v0.1/vgg.pth",
                7_289,
                "a78928a0af1e5f0fcb1f3b9e8f8c3a2a5a3de244d830ad5c1feddc79b8432868",
                "lpips-v0.1-vgg.pth",
            ),
        ),
    ),
}
