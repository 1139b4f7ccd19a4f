"""Other programs' configurations come out as the recipes that they describe, and say what they could not take."""

import sys
import textwrap
import tomllib
from pathlib import Path

import pytest
import torch

from tessera.config import validate
from tessera.degrade import RealESRGANDegradation
from tessera.discriminators.attention_unet import AttentionUNetConfig
from tessera.discriminators.esrdgan import ESRDGANConfig
from tessera.discriminators.multi_scale import MultiScaleConfig
from tessera.discriminators.unet import UNetConfig
from tessera.discriminators.vgg_style import VGGStyleConfig
from tessera.errors import UsageError
from tessera.generators import ESRDnetConfig, RRDBNetConfig, SRVGGNetCompactConfig
from tessera.train.importing import Imported, import_config
from tessera.train.importing.writing import find_shortest, format_recipe
from tessera.train.networks import load_networks
from tessera.train.parts import build_parts
from tessera.train.processes import Processes
from tessera.train.recipe import RECIPES, Recipe, load_recipe, override, read_shipped_recipe
from tessera.train.schedule import learning_rate_at

NETWORK_G = "network_g: {type: RRDBNet, num_in_ch: 3, num_out_ch: 3, num_feat: 64, num_block: 23, num_grow_ch: 32}"
KERNELS = """\
    kernel_list: [iso, aniso, generalized_iso, generalized_aniso, plateau_iso, plateau_aniso]
    kernel_prob: [0.45, 0.25, 0.12, 0.03, 0.12, 0.03]
    sinc_prob: 0.1
    betag_range: [0.5, 4]
    betap_range: [1, 2]
    kernel_list2: [iso, aniso, generalized_iso, generalized_aniso, plateau_iso, plateau_aniso]
    kernel_prob2: [0.45, 0.25, 0.12, 0.03, 0.12, 0.03]
    sinc_prob2: 0.1
    betag_range2: [0.5, 4]
    betap_range2: [1, 2]
    blur_kernel_size: 21
    blur_kernel_size2: 21
    blur_sigma: [0.2, 3]
    blur_sigma2: [0.2, 1.5]
    final_sinc_prob: 0.8
"""
DEGRADATION = """\
resize_prob: [0.2, 0.7, 0.1]  # up, down, keep
resize_range: [0.15, 1.5]
gaussian_noise_prob: 0.5
noise_range: [1, 30]
poisson_scale_range: [0.05, 3]
gray_noise_prob: 0.4
jpeg_range: [30, 95]
second_blur_prob: 0.8
resize_prob2: [0.3, 0.4, 0.3]
resize_range2: [0.3, 1.2]
gaussian_noise_prob2: 0.5
noise_range2: [1, 25]
poisson_scale_range2: [0.05, 2.5]
gray_noise_prob2: 0.4
jpeg_range2: [30, 95]
queue_size: 180
gt_size: 256
"""
REAL_ESRGAN = f"""\
name: photos_x4
model_type: RealESRGANModel
scale: 4
num_gpu: auto
manual_seed: 0
l1_gt_usm: True
percep_gt_usm: True
gan_gt_usm: False
{DEGRADATION}
datasets:
  train:
    name: photographs
    type: RealESRGANDataset
    dataroot_gt: datasets/photos
    meta_info: datasets/photos/list.txt
    io_backend:
      type: disk
{KERNELS}
    gt_size: 256
    use_hflip: True
    use_rot: False
    use_shuffle: true
    num_worker_per_gpu: 5
    batch_size_per_gpu: 12
    dataset_enlarge_ratio: 1
    prefetch_mode: ~
{NETWORK_G}
network_d:
  type: UNetDiscriminatorSN
  num_in_ch: 3
  num_feat: 64
  skip_connection: True
path:
  pretrain_network_g: weights/first_stage.pth
  param_key_g: params_ema
  strict_load_g: true
  resume_state: ~
train:
  ema_decay: 0.999
  optim_g: &adam
    type: Adam
    lr: 1e-4
    weight_decay: 0
    betas: [0.9, 0.99]
  optim_d: *adam
  scheduler:
    type: MultiStepLR
    milestones: [400000]
    gamma: 0.5
  total_iter: 400000
  warmup_iter: -1
  pixel_opt: {{type: L1Loss, loss_weight: 1.0, reduction: mean}}
  perceptual_opt:
    type: PerceptualLoss
    layer_weights: {{conv1_2: 0.1, conv2_2: 0.1, conv3_4: 1, conv4_4: 1, conv5_4: 1}}
    vgg_type: vgg19
    use_input_norm: true
    perceptual_weight: !!float 1.0
    style_weight: 0
    range_norm: false
    criterion: l1
  gan_opt: {{type: GANLoss, gan_type: vanilla, real_label_val: 1.0, fake_label_val: 0.0, loss_weight: !!float 1e-1}}
  net_d_iters: 1
  net_d_init_iters: 0
logger:
  print_freq: 100
  save_checkpoint_freq: !!float 5e3
  use_tb_logger: true
  wandb: {{project: ~, resume_id: ~}}
dist_params: {{backend: nccl, port: 29500}}
"""
ESRGAN = f"""\
name: div2k_x4
model_type: ESRGANModel
scale: 4
num_gpu: 1
manual_seed: 0
datasets:
  train:
    name: DIV2K
    type: PairedImageDataset
    dataroot_gt: DIV2K/HR_sub
    dataroot_lq: DIV2K/LR_sub
    filename_tmpl: '{{}}'
    io_backend: {{type: disk}}
    gt_size: 128
    use_hflip: true
    use_rot: true
    num_worker_per_gpu: 6
    batch_size_per_gpu: 16
    dataset_enlarge_ratio: 100
    prefetch_mode: ~
  val:
    name: Set14
    type: PairedImageDataset
    dataroot_gt: Set14/GTmod12
    dataroot_lq: Set14/LRbicx4
    io_backend: {{type: disk}}
{NETWORK_G}
network_d: {{type: VGGStyleDiscriminator, num_in_ch: 3, num_feat: 64}}
path:
  pretrain_network_g: weights/psnr.pth
  strict_load_g: true
  resume_state: ~
train:
  ema_decay: 0.999
  optim_g: {{type: Adam, lr: !!float 1e-4, weight_decay: 0, betas: [0.9, 0.99]}}
  optim_d: {{type: Adam, lr: !!float 1e-4, weight_decay: 0, betas: [0.9, 0.99]}}
  scheduler: {{type: MultiStepLR, milestones: [50000, 100000, 200000, 300000], gamma: 0.5}}
  total_iter: 400000
  warmup_iter: -1
  pixel_opt: {{type: L1Loss, loss_weight: !!float 1e-2, reduction: mean}}
  perceptual_opt:
    type: PerceptualLoss
    layer_weights: {{'conv5_4': 1}}
    vgg_type: vgg19
    use_input_norm: true
    range_norm: false
    perceptual_weight: 1.0
    style_weight: 0
    criterion: l1
  gan_opt: {{type: GANLoss, gan_type: vanilla, real_label_val: 1.0, fake_label_val: 0.0, loss_weight: !!float 5e-3}}
  net_d_iters: 1
  net_d_init_iters: 0
val:
  val_freq: !!float 5e3
  save_img: true
  metrics:
    psnr: {{type: calculate_psnr, crop_border: 4, test_y_channel: false}}
logger: {{print_freq: 100, save_checkpoint_freq: !!float 5e3, use_tb_logger: true}}
"""


def without(text: str, *keys: str) -> str:
    """The text without these tables of the top level, or lines."""
    kept: list[str] = []
    dropping = False
    for line in text.splitlines():
        if line and not line.startswith((" ", "#")):
            dropping = line.split(":")[0] in keys
        if not dropping and line.strip().split(":")[0] not in keys:
            kept.append(line)
    return "\n".join(kept) + "\n"


REAL_ESRNET = (
    without(REAL_ESRGAN, "network_d", "l1_gt_usm", "percep_gt_usm", "gan_gt_usm", "gan_opt", "optim_d", "net_d_iters")
    .replace("RealESRGANModel", "RealESRNetModel\ngt_usm: True")
    .replace("lr: 1e-4", "lr: 2e-4")
    .replace("400000", "1000000")
)
REAL_ESRNET = REAL_ESRNET[: REAL_ESRNET.index("  perceptual_opt:")] + REAL_ESRNET[REAL_ESRNET.index("logger:") :]
PSNR = without(ESRGAN, "network_d", "gan_opt", "optim_d").replace("ESRGANModel", "SRModel")
PSNR = PSNR[: PSNR.index("  perceptual_opt:")] + PSNR[PSNR.index("val:\n  val_freq") :]
PSNR = (
    PSNR.replace("loss_weight: !!float 1e-2", "loss_weight: 1.0")
    .replace("lr: !!float 1e-4", "lr: !!float 2e-4")
    .replace("total_iter: 400000", "total_iter: 1000000")
    .replace(
        "{type: MultiStepLR, milestones: [50000, 100000, 200000, 300000], gamma: 0.5}",
        "\n    type: CosineAnnealingRestartLR\n    periods: [250000, 250000, 250000, 250000]\n"
        "    restart_weights: [1, 1, 1, 1]\n    eta_min: !!float 1e-7",
    )
)


def imported(folder: Path, text: str, name: str = "options.yml") -> Imported:
    path = folder / name
    path.write_text(textwrap.dedent(text), encoding="utf-8")
    found = import_config(path)
    (folder / "out.toml").write_text(found.text, encoding="utf-8")
    assert load_recipe(str(folder / "out.toml")) == found.recipe, "what is written is what was meant"
    return found


def refused(folder: Path, text: str, name: str = "options.yml") -> str:
    with pytest.raises(UsageError) as caught:
        imported(folder, text, name)
    assert str(caught.value).startswith(str(folder / name))
    return str(caught.value)


def like(name: str, found: Recipe, *changes: str) -> None:
    """The recipe is the shipped one with these changes, but for its name, its pictures and what it records."""
    same = {"name": found.name, "start": found.start, "checkpoint": found.checkpoint, "report": found.report}
    kept = load_recipe(name, [*changes, "data.train=x"])
    places = {key: getattr(found.data, key) for key in ("train", "lq", "val", "val_lq", "root", "workers")}
    same |= {"data": kept.data.model_copy(update=places), "validation": found.validation}
    expected = kept.model_copy(update=same)
    assert found.model_dump() == expected.model_dump()


# ------------------------------------------------------------------------------------------------------------ BasicSR


def test_real_esrgans_options_are_the_shipped_recipe_with_other_pictures(tmp_path):
    found = imported(tmp_path, REAL_ESRGAN)
    like("realesrgan", found.recipe, "seed=0")
    data = found.recipe.data
    assert (data.train, data.root, data.lq) == ((Path("datasets/photos/list.txt"),), Path("datasets/photos"), None)
    assert (data.workers, data.batch, data.patch) == (5, 12, 256)
    assert found.recipe.start.generator == "weights/first_stage.pth"
    assert not found.recipe.start.discriminator
    assert found.recipe.name == "photos_x4"
    written = tomllib.loads(found.text)
    assert written == {
        "recipe": "realesrgan",
        "name": "photos_x4",
        "start": {"generator": "weights/first_stage.pth"},
        "data": {"train": ["datasets/photos/list.txt"], "root": "datasets/photos", "workers": 5},
    }
    assert {note.key for note in found.notes} == {"dist_params", "logger.save_checkpoint_freq"}


def test_real_esrnets_options_sharpen_the_truth_before_the_pool(tmp_path):
    found = imported(tmp_path, REAL_ESRNET).recipe
    like("realesrnet", found)
    assert found.sharpen.before_pool
    assert found.optimizer.rate == 2e-4
    plain = imported(tmp_path, REAL_ESRNET.replace("gt_usm: True", "gt_usm: False")).recipe
    assert not plain.sharpen.pixel
    assert not plain.sharpen.before_pool
    assert isinstance(plain.degradation, RealESRGANDegradation)
    assert not plain.degradation.sharpen, "inputs are made of the truth as it is then"


def test_esrgans_options_on_pairs(tmp_path):
    found = imported(tmp_path, ESRGAN)
    recipe = found.recipe
    like("esrgan", recipe, "cut.margin=0")
    assert recipe.data.lq == (Path("DIV2K/LR_sub"),)
    assert (recipe.data.val, recipe.data.val_lq) == ((Path("Set14/GTmod12"),), (Path("Set14/LRbicx4"),))
    adversarial = recipe.adversarial
    assert adversarial is not None
    assert (adversarial.relativism, adversarial.combine, adversarial.detach_means) == ("average", "mean", True)
    assert adversarial.weight == 5e-3
    assert recipe.pixel.weight == 1e-2
    assert recipe.discriminator == VGGStyleConfig()
    assert recipe.validation.metrics == ("psnr",)
    said = " ".join(found.sentences)
    assert "val.metrics.psnr.test_y_channel: PSNR and SSIM during training are of Y" in said
    assert "dataset_enlarge_ratio" in said


def test_the_psnr_networks_options_have_the_rates_that_basicsr_has(tmp_path):
    found = imported(tmp_path, PSNR).recipe
    assert found.discriminator is None
    assert found.adversarial is None
    assert (found.steps, found.pixel.weight, found.optimizer.betas) == (1_000_000, 1.0, (0.9, 0.99))
    shipped = load_recipe("rrdb-psnr")
    for step in (1, 125_000, 250_000, 250_001, 600_000, 1_000_000):
        ours, theirs = (learning_rate_at(each.schedule, 2e-4, step, 1_000_000) for each in (found, shipped))
        assert ours == pytest.approx(theirs)


@pytest.mark.parametrize(
    ("name", "judge", "network"),
    [
        ("a-esrgan-single", "type: UNetDiscriminatorAesrgan", AttentionUNetConfig()),
        ("a-esrgan-multi", "type: multiscale\n  num_D: 2", MultiScaleConfig(scales=2)),
    ],
)
def test_a_esrgans_options_have_its_discriminators(tmp_path, name, judge, network):
    text = without(REAL_ESRGAN, "skip_connection").replace("type: UNetDiscriminatorSN", judge)
    text = text.replace("batch_size_per_gpu: 12", f"batch_size_per_gpu: {16 if 'multi' in name else 6}")
    if "multi" in name:
        text = text.replace("RealESRGANModel", "AESRGANModel").replace("queue_size: 180", "queue_size: 192")
    found = imported(tmp_path, text).recipe
    assert found.discriminator == network
    like(name, found)


def test_pairs_for_fine_tuning_are_neither_degraded_nor_pooled(tmp_path):
    text = REAL_ESRGAN.replace("type: RealESRGANDataset", "type: RealESRGANPairedDataset").replace(
        "    dataroot_gt: datasets/photos\n", "    dataroot_gt: datasets\n    dataroot_lq: datasets\n"
    )
    text = text.replace("scale: 4\n", "scale: 4\nhigh_order_degradation: False\n", 1)
    found = imported(tmp_path, text)
    recipe = found.recipe
    like("finetune-pairs", recipe, "data.rotations=false", "cut.margin=0")
    assert recipe.data.train == (Path("datasets/photos/list.txt"),)
    assert (recipe.data.root, recipe.data.lq, recipe.pool) == (Path("datasets"), None, 0)
    assert any("resize_prob" in note.key and "inputs are given" in note.reason for note in found.notes)

    apart = imported(tmp_path, without(text.replace("dataroot_lq: datasets", "dataroot_lq: inputs"), "meta_info"))
    assert (apart.recipe.data.train, apart.recipe.data.lq) == ((Path("datasets"),), (Path("inputs"),))


def test_lmdb_stores_are_named_and_their_own_list_is_used(tmp_path):
    text = REAL_ESRGAN.replace("type: disk", "type: lmdb").replace("datasets/photos\n", "datasets/photos.lmdb\n")
    data = imported(tmp_path, text).recipe.data
    assert (data.train, data.root) == ((Path("datasets/photos.lmdb"),), None)
    assert "whose name ends in .lmdb" in refused(tmp_path, REAL_ESRGAN.replace("type: disk", "type: lmdb"))


def test_every_number_of_the_degradation_arrives(tmp_path):
    changes = {
        "resize_prob: [0.2, 0.7, 0.1]": "resize_prob: [0.1, 0.6, 0.3]",
        "resize_range: [0.15, 1.5]": "resize_range: [0.25, 1.25]",
        "gaussian_noise_prob: 0.5": "gaussian_noise_prob: 0.75",
        "noise_range: [1, 30]": "noise_range: [2, 20]",
        "poisson_scale_range: [0.05, 3]": "poisson_scale_range: [0.1, 2]",
        "gray_noise_prob: 0.4": "gray_noise_prob: 0.3",
        "jpeg_range: [30, 95]": "jpeg_range: [50, 90]",
        "second_blur_prob: 0.8": "second_blur_prob: 0.6",
        "resize_prob2: [0.3, 0.4, 0.3]": "resize_prob2: [0.5, 0.25, 0.25]",
        "resize_range2: [0.3, 1.2]": "resize_range2: [0.5, 1.1]",
        "gaussian_noise_prob2: 0.5": "gaussian_noise_prob2: 0.4",
        "noise_range2: [1, 25]": "noise_range2: [3, 15]",
        "poisson_scale_range2: [0.05, 2.5]": "poisson_scale_range2: [0.2, 1.5]",
        "gray_noise_prob2: 0.4": "gray_noise_prob2: 0.2",
        "jpeg_range2: [30, 95]": "jpeg_range2: [60, 80]",
        "sinc_prob: 0.1": "sinc_prob: 0.2",
        "sinc_prob2: 0.1": "sinc_prob2: 0.3",
        "blur_sigma: [0.2, 3]": "blur_sigma: [0.3, 2]",
        "blur_sigma2: [0.2, 1.5]": "blur_sigma2: [0.1, 1]",
        "betag_range: [0.5, 4]": "betag_range: [0.6, 3]",
        "betap_range2: [1, 2]": "betap_range2: [0.9, 1.5]",
        "final_sinc_prob: 0.8": "final_sinc_prob: 0.7",
        "    blur_kernel_size: 21\n": "    blur_kernel_size: 21\n    kernel_range: [7, 9, 11]\n",
        "kernel_list: [iso, aniso, generalized_iso, generalized_aniso, plateau_iso, plateau_aniso]": (
            "kernel_list: [aniso, iso]"
        ),
        "kernel_prob: [0.45, 0.25, 0.12, 0.03, 0.12, 0.03]": "kernel_prob: [3, 1]",
    }
    text = REAL_ESRGAN
    for before, after in changes.items():
        assert (before if before.startswith(" ") else f"\n{before}") in text.replace("    ", "") or before in text
        position = text.index(before)
        text = text[:position] + after + text[position + len(before) :]
    made = imported(tmp_path, text).recipe.degradation
    assert isinstance(made, RealESRGANDegradation)
    first, second, final = made.first, made.second, made.final
    assert (first.resize.up, first.resize.down, first.resize.keep) == (0.1, 0.6, 0.3)
    assert (second.resize.up, second.resize.down, second.resize.keep) == (0.5, 0.25, 0.25)
    assert (first.resize.range, second.resize.range) == ((0.25, 1.25), (0.5, 1.1))
    assert (first.noise.gaussian_probability, second.noise.gaussian_probability) == (0.75, 0.4)
    assert (first.noise.sigma_255, second.noise.sigma_255) == ((2, 20), (3, 15))
    assert (first.noise.poisson_scale, second.noise.poisson_scale) == ((0.1, 2), (0.2, 1.5))
    assert (first.noise.gray_probability, second.noise.gray_probability) == (0.3, 0.2)
    assert (first.jpeg.quality, second.jpeg.quality) == ((50, 90), (60, 80))
    assert (first.blur.probability, second.blur.probability) == (1.0, 0.6)
    assert (first.blur.sinc_probability, second.blur.sinc_probability, final.sinc_probability) == (0.2, 0.3, 0.7)
    assert (first.blur.sigma, second.blur.sigma) == ((0.3, 2), (0.1, 1))
    assert (first.blur.generalized_beta, second.blur.plateau_beta) == ((0.6, 3), (0.9, 1.5))
    assert (first.blur.sizes, second.blur.sizes) == ((7, 9, 11), tuple(range(7, 22, 2)))
    assert (first.blur.shares.aniso, first.blur.shares.iso, first.blur.shares.plateau_iso) == (0.75, 0.25, 0)


def test_other_scales_and_networks_are_taken(tmp_path):
    text = REAL_ESRGAN.replace("scale: 4\n", "scale: 2\n", 1).replace("num_feat: 64, num_block", "scale: 2, num_block")
    two = imported(tmp_path, text).recipe
    assert two.generator == RRDBNetConfig(scale=2)
    compact = "network_g: {type: SRVGGNetCompact, num_feat: 48, num_conv: 20, upscale: 4, act_type: prelu}"
    found = imported(tmp_path, REAL_ESRGAN.replace(NETWORK_G, compact)).recipe
    assert found.generator == SRVGGNetCompactConfig(features=48, convolutions=20)
    assert "x4" in refused(tmp_path, REAL_ESRGAN.replace("scale: 4\n", "scale: 2\n", 1))


def test_a_training_state_stands_for_the_networks_that_were_saved_with_it(tmp_path):
    state = "resume_state: experiments/photos_x4/training_states/5000.state"
    found = imported(tmp_path, REAL_ESRGAN.replace("resume_state: ~", state))
    models = Path("experiments/photos_x4/models")
    assert Path(found.recipe.start.generator) == models / "net_g_5000.pth"
    assert Path(found.recipe.start.discriminator) == models / "net_d_5000.pth"
    assert any(note.key == "path.resume_state" and "start fresh" in note.reason for note in found.notes)


def test_numbers_are_numbers_however_yaml_reads_them(tmp_path):
    """YAML 1.1 takes 1e-4 for a word, because it has no point."""
    text = REAL_ESRGAN.replace("total_iter: 400000", "total_iter: 4e5").replace("seed: 0", "seed: '7'")
    found = imported(tmp_path, text).recipe
    assert (found.optimizer.rate, found.steps, found.seed) == (1e-4, 400_000, 7)
    assert isinstance(found.steps, int)
    assert "`train.optim_g.lr` should be a number, found 'fast'" in refused(
        tmp_path, REAL_ESRGAN.replace("lr: 1e-4", "lr: fast")
    )


def test_null_is_nothing(tmp_path):
    text = REAL_ESRGAN.replace("manual_seed: 0", "manual_seed: ~").replace("weights/first_stage.pth", "null")
    text = text.replace("num_worker_per_gpu: 5", "num_worker_per_gpu:").replace("ema_decay: 0.999", "ema_decay: ~")
    found = imported(tmp_path, text).recipe
    assert (found.seed, found.start.generator, found.ema) == (0, "", 0.0)


def test_what_nobody_knows_is_listed_in_the_recipe_too(tmp_path):
    text = REAL_ESRGAN.replace("  total_iter:", "  ldl_opt: {type: LDLLoss, loss_weight: 1}\n  total_iter:")
    text = text.replace("    use_shuffle: true", "    use_shuffel: true") + "surprise: [1, 2]\n"
    found = imported(tmp_path, text)
    keys = {note.key for note in found.notes if note.reason == "has no counterpart in Tessera"}
    assert keys == {"surprise", "train.ldl_opt", "datasets.train.use_shuffel"}
    assert "#   surprise, datasets.train.use_shuffel, train.ldl_opt: has no counterpart in Tessera." in found.text


def test_what_is_unlike_is_said(tmp_path):
    text = REAL_ESRGAN.replace("batch_size_per_gpu: 12", "batch_size_per_gpu: 16").replace("gpu: auto", "gpu: 4")
    text = text.replace("real_label_val: 1.0", "real_label_val: 0.9").replace("params_ema", "params")
    said = "\n".join(imported(tmp_path, text).sentences)
    assert "num_gpu: start the run with torchrun (nproc-per-node 4)" in said
    assert "180 is not a multiple of the batch of 16" in said
    assert "gan_opt.real_label_val: the label is 1" in said
    assert "path.param_key_g" in said


@pytest.mark.parametrize(
    ("before", "after", "sentence"),
    [
        ("RealESRGANModel", "RealESRGAMModel", "Did you mean RealESRGANModel? Known are SRModel, ESRGANModel"),
        ("type: RRDBNet", "type: SwinIR", "`network_g.type` is SwinIR, an unknown generator."),
        ("UNetDiscriminatorSN", "PatchGAN", "Known are VGGStyleDiscriminator,"),
        ("type: RealESRGANDataset", "type: VideoDataset", "Known are PairedImageDataset, RealESRGANPairedDataset"),
        ("type: L1Loss", "type: L3Loss", "`train.pixel_opt.type` is L3Loss"),
        ("gan_type: vanilla", "gan_type: dragan", "Known are vanilla, lsgan, wgan, wgan_softplus, hinge."),
        ("type: MultiStepLR", "type: StepLR", "`train.scheduler.type` is StepLR"),
        ("vgg_type: vgg19", "vgg_type: vgg11", "Known are vgg19, vgg16."),
        ("  total_iter: 400000", "", "`train.total_iter` is missing"),
        ("type: RRDBNet, ", "", "`network_g.type` is missing: expected a generator, one of RRDBNet, SRVGGNetCompact"),
        ("[0.2, 0.7, 0.1]", "[0.2, 0.7]", "`resize_prob` should be a list of 3 numbers, found [0.2, 0.7]"),
        ("[0.2, 0.7, 0.1]", "[0.2, 0.7, 0.7]", "probabilities must sum to 1"),
        ("queue_size: 180", "queue_size: 5", "pool is 5, and has to hold a batch (12)"),
        ("use_rot: False", "use_rot: maybe", "`datasets.train.use_rot` should be true or false, found 'maybe'"),
        ("iso, aniso,", "iso, box,", "`datasets.train.kernel_list` has box, and kernels are iso, aniso"),
        ("network_d:", "network_q:", "`network_d` is missing"),
        ("num_block: 23", "num_block: 2.5", "`network_g.num_block` should be an integer, found 2.5"),
        ("datasets:\n", "datasets: 3\ndatasats:\n", "`datasets` should be a table of keys and values, found 3"),
        ("scale: 4\n", "scale: [4\n", "not valid YAML: "),
        ("scale: 4\n", "scale: !!python/object/apply:os.getcwd []\n", "could not determine a constructor"),
    ],
)
def test_what_cannot_be_taken_is_refused_in_a_sentence(tmp_path, before, after, sentence):
    assert before in REAL_ESRGAN
    assert sentence in refused(tmp_path, REAL_ESRGAN.replace(before, after, 1))


def test_pairs_where_none_are_meant_are_refused(tmp_path):
    assert "gives pairs, and `model_type` makes its own inputs" in refused(
        tmp_path, ESRGAN.replace("ESRGANModel", "RealESRGANModel")
    )
    assert "gives no inputs" in refused(tmp_path, REAL_ESRGAN.replace("RealESRGANModel", "ESRGANModel"))


def test_a_file_that_tests_is_told_where_to_go(tmp_path):
    text = "model_type: SRModel\nscale: 4\ndatasets: {test_1: {type: PairedImageDataset}}\n" + NETWORK_G + "\n"
    assert "tessera evaluate" in refused(tmp_path, text)


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("a.yml", b"- 1\n- 2\n", "found a list"),
        ("a.yml", b"", "found nothing"),
        ("a.yml", b"name: \xff\xfe", "not UTF-8 text"),
        ("a.yml", b"[" * 5000, "not valid YAML"),
        ("a.yml", b"when: 2020-99-99\n", "not valid YAML"),
        ("a.json", b'{"name": 1,}', "not valid JSON"),
        ("a.json", b"[" * 100_000, "this JSON cannot be read"),
        ("a.ini", b"name = x\n", "not a valid ini file"),
        ("a.ini", b"[A]\nx = 1\nx = 2\n", "not a valid ini file"),
        ("a.toml", b"steps = 1", "A recipe in TOML is used as it is"),
        ("a.docx", b"", "BasicSR, Real-ESRGAN, A-ESRGAN (.yml, .yaml)"),
        ("a.yml", None, "cannot be read (No such file"),
    ],
)
def test_what_is_no_configuration_is_refused_in_a_sentence(tmp_path, name, content, sentence):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UsageError) as caught:
        import_config(path)
    assert str(caught.value).startswith(str(path))
    assert sentence in str(caught.value)


def test_aliases_without_end_are_refused_at_once(tmp_path):
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 30)]
    text = "\n".join(lines) + "\n" + REAL_ESRGAN
    assert "at most 100,000 keys and values" in refused(tmp_path, text.replace("scale: 4\n", "scale: *a29\n", 1))
    recursive = REAL_ESRGAN.replace("train:\n  ema", "train: &t\n  again: *t\n  ema")
    assert "at most 100,000 keys and values" in refused(tmp_path, recursive)
    assert "too many digits" in refused(tmp_path, REAL_ESRGAN.replace("seed: 0", f"seed: 0x{'f' * 9000}"))


def test_without_pyyaml_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "yaml", None)
    assert 'pip install "tessera-sr[train]"' in refused(tmp_path, REAL_ESRGAN)


# ----------------------------------------------------------------------------------------------------- BasicSR, 2018

OLD = """\
{
  "name": "esrgan_2018" // a name
  , "use_tb_logger": true
  , "model": "srragan"
  , "scale": 4
  , "gpu_ids": [0]
  , "datasets": {
    "train": {
      "name": "DIV2K", "mode": "LRHR", "dataroot_HR": "http://a//b", "dataroot_LR": "LR",
      "subset_file": null, "use_shuffle": true, "n_workers": 8, "batch_size": 16, "HR_size": 128,
      "use_flip": true, "use_rot": true
    }
    , "val": { "name": "Set14", "mode": "LRHR", "dataroot_HR": "val/HR", "dataroot_LR": "val/LR" }
  }
  , "path": { "root": "x", "pretrain_model_G": "RRDB_PSNR_x4.pth" }
  , "network_G": { "which_model_G": "RRDB_net", "norm_type": null, "mode": "CNA", "nf": 64, "nb": 23, "in_nc": 3,
                   "out_nc": 3, "gc": 32, "group": 1 }
  , "network_D": { "which_model_D": "discriminator_vgg_128", "norm_type": "batch", "act_type": "leakyrelu",
                   "mode": "CNA", "nf": 64, "in_nc": 3 }
  , "train": { "lr_G": 1e-4, "weight_decay_G": 0, "beta1_G": 0.9, "lr_D": 1e-4, "weight_decay_D": 0, "beta1_D": 0.9
    , "lr_scheme": "MultiStepLR", "lr_steps": [50000, 100000, 200000, 300000], "lr_gamma": 0.5
    , "pixel_criterion": "l1", "pixel_weight": 1e-2, "feature_criterion": "l1", "feature_weight": 1
    , "gan_type": "vanilla", "gan_weight": 5e-3, "manual_seed": 0, "niter": 5e5, "val_freq": 5e3 }
  , "logger": { "print_freq": 200, "save_checkpoint_freq": 5e3 }
}
"""


def test_the_options_of_2018_are_esrgan_as_it_was_then(tmp_path):
    found = imported(tmp_path, OLD, "train.json").recipe
    assert (found.steps, found.ema, found.optimizer.betas) == (500_000, 0.0, (0.9, 0.999))
    assert found.schedule == load_recipe("esrgan").schedule
    assert found.discriminator == VGGStyleConfig(biases="all")
    assert found.adversarial is not None
    assert (found.adversarial.detach_means, found.adversarial.combine) == (False, "mean")
    assert (found.pixel.weight, found.adversarial.weight) == (1e-2, 5e-3)
    assert found.data.train[0].name == "b", "what looks like a comment inside of text is none"
    assert found.start.generator == "RRDB_PSNR_x4.pth"
    made = imported(tmp_path, OLD.replace('"dataroot_LR": "LR"', '"dataroot_LR": null'), "train.json").recipe
    assert (made.degradation.kind, made.data.lq) == ("matlab-bicubic", None)


# ----------------------------------------------------------------------------------------------------------- esrdgan

INI = """\
[DEFAULT]
name = faces
model = esrdgan
use_tensorboard_logger = True
scale = 4
gpu_id = 0
also_log_to_terminal = True
load_model_from_save = False
display_bar = True

[ENV]
root_path = /somewhere
log_subpath = /log
runs_subpath = /runs
generator_load_path =
discriminator_load_path
state_load_path = none

[DATASETTRAIN]
mode = downsampler
n_workers = 8
batch_size = 8
hr_img_size = 128
name = 50% faces
dataroot_hr = data/HR
dataroot_lr = none
data_aug_gaussian_noise = True
gaussian_stddev = 0.01
data_aug_shuffle = True
data_aug_flip = True
data_aug_rot = True

[DATASETVAL]
mode = hrlr
batch_size = 1
hr_img_size = -1
dataroot_hr = val/HR
dataroot_lr = val/LR

[DATASETTEST]
mode = lr
dataroot_lr = test/LR

[GENERATOR]
norm_type = none
act_type = leakyrelu
layer_mode = CNA
num_features = 128
num_rrdb = 12
num_rdb_convs = 5
rdb_res_scaling = 0.2
rrdb_res_scaling = 0.2
in_num_ch = 3
out_num_ch = 3
rdb_growth_chan = 32
hr_kern_size = 3
weight_init_scale = 0.5
lff_kern_size = 3

[DISCRIMINATOR]
norm_type = batch
act_type = leakyrelu
num_features = 96
in_num_ch = 3
feat_kern_size = 3
weight_init_scale = 1.0

[FEATUREEXTRACTOR]
low_level_feat_layer = -1
high_level_feat_layer = 34

[TRAINING]
resume_training_from_save = False
learning_rate_g = 1e-4
learning_rate_d = 1e-4
adam_weight_decay_g = 0
adam_beta1_g = 0.9
multistep_lr = True
multistep_lr_steps = [10000, 20000, 30000, 40000]
lr_gamma = 0.5
gan_type = relativisticavg
gan_weight = 5e-3
d_g_train_ratio = 2
pixel_criterion = l1
pixel_weight = 0.01
feature_criterion = l1
feature_weight = 0.1
use_noisy_labels = False
use_one_sided_label_smoothing = True
flip_labels = False
use_instance_noise = True
niter = 100000
val_period = 1000
save_model_period = 5000
log_period = 10
"""


def test_esrdgans_ini_is_the_shipped_recipe(tmp_path):
    found = imported(tmp_path, INI, "faces.ini")
    like("esrdgan", found.recipe, "tricks.lq_noise=0.01")
    assert found.recipe.start.init_scale == 0.5
    assert (found.recipe.start.init, found.recipe.start.generator) == ("kaiming", "")
    assert (found.recipe.data.train, found.recipe.data.val_lq) == ((Path("data/HR"),), (Path("val/LR"),))
    assert (found.recipe.validation.every, found.recipe.checkpoint.every, found.recipe.report.every) == (1000, 5000, 10)
    said = "\n".join(found.sentences)
    assert "[GENERATOR] layer_mode, [GENERATOR] num_rdb_convs" in said
    assert "esrdgan reads it and does not use it" in said
    assert "[DATASETTEST] mode, [DATASETTEST] dataroot_lr: `tessera evaluate` measures results" in said
    assert tomllib.loads(found.text)["recipe"] == "esrdgan"


@pytest.mark.parametrize(
    ("before", "after", "place", "value"),
    [
        ("act_type = leakyrelu\nlayer_mode", "act_type = relu\nlayer_mode", "generator.slope", 0.0),
        ("lff_kern_size = 3", "lff_kern_size = 1", "generator.lff_kernel", 1),
        ("hr_kern_size = 3", "hr_kern_size = 5", "generator.hr_kernel", 5),
        ("rdb_res_scaling = 0.2", "rdb_res_scaling = 0.1", "generator.rdb_residual", 0.1),
        ("rrdb_res_scaling = 0.2", "rrdb_res_scaling = 0.3", "generator.rrdb_residual", 0.3),
        ("weight_init_scale = 0.5\n", "", "start.init_scale", 1.0),
        ("num_rrdb = 12\n", "", "generator.blocks", 23),
        ("weight_init_scale = 1.0", "weight_init_scale = 0.25", "discriminator.init_scale", 0.25),
        ("feat_kern_size = 3", "feat_kern_size = 5", "discriminator.kernel", 5),
        ("norm_type = batch", "norm_type = none", "discriminator.norm", "none"),
        ("norm_type = batch", "norm_type = instance", "discriminator.norm", "instance"),
        ("low_level_feat_layer = -1", "low_level_feat_layer = 7", "perceptual.layers", {"conv2_2": 1, "conv5_4": 1}),
        ("low_level_feat_layer = -1", "low_level_feat_layer = 7", "perceptual.joined", True),
        ("low_level_feat_layer = -1", "low_level_feat_layer = -1", "perceptual.joined", False),
        ("gan_type = relativisticavg", "gan_type = relativistic", "adversarial.relativism", "pairwise"),
        ("d_g_train_ratio = 2", "d_g_train_ratio = 5", "step.generator_every", 5),
        ("learning_rate_d = 1e-4", "learning_rate_d = 5e-5", "discriminator_optimizer.rate", 5e-5),
        ("pixel_criterion = l1", "pixel_criterion = l2", "pixel.criterion", "mse"),
        ("pixel_criterion = l1", "pixel_criterion = none", "pixel.weight", 0.0),
        ("feature_criterion = l1", "feature_criterion = none", "perceptual", None),
        ("feature_weight = 0.1\n", "", "perceptual.weight", 1.0),
        (
            "multistep_lr_steps = [10000, 20000, 30000, 40000]",
            "multistep_lr_steps = 5, 7",
            "schedule.milestones",
            (5, 7),
        ),
        ("use_noisy_labels = False", "use_noisy_labels = yes", "tricks.noisy_labels", True),
        ("flip_labels = False", "flip_labels = True", "tricks.flip_labels", True),
        ("use_instance_noise = True\n", "", "tricks.instance_noise", False),
        ("data_aug_gaussian_noise = True", "data_aug_gaussian_noise = False", "tricks.lq_noise", 0.0),
        ("gpu_id = 0", "gpu_id =", "device", "cpu"),
        ("gpu_id = 0", "gpu_id = 2", "device", "cuda:2"),
        ("niter = 100000\n", "", "steps", 500_000),
        ("hr_img_size = -1", "hr_img_size = 64", "validation.crop", 64),
    ],
)
def test_every_choice_of_esrdgan_arrives(tmp_path, before, after, place, value):
    assert before in INI
    found = imported(tmp_path, INI.replace(before, after, 1), "faces.ini").recipe
    for part in place.split("."):
        found = getattr(found, part)
    assert found == value


@pytest.mark.parametrize(
    ("before", "after", "sentence"),
    [
        ("gan_type = relativisticavg", "gan_type = dcgan", "Known are relativistic, relativisticavg."),
        ("mode = downsampler", "mode = lr", "`[DATASETTRAIN] mode` is lr, an unknown training mode"),
        ("mode = downsampler", "mode = hrlr", "`[DATASETTRAIN] dataroot_lr` is missing"),
        ("[DATASETTRAIN]", "[TRAININGSET]", "`[DATASETTRAIN]` is missing"),
        ("niter = 100000", "niter = many", "`[TRAINING] niter` should be a number, found 'many'"),
        ("hr_img_size = 128", "hr_img_size = 100", "`discriminator.input_size`: input should be a multiple of 32"),
        ("high_level_feat_layer = 34", "high_level_feat_layer = 99", "the number of a VGG19 layer, up to 36"),
    ],
)
def test_an_ini_that_cannot_be_taken_is_refused_in_a_sentence(tmp_path, before, after, sentence):
    assert sentence in refused(tmp_path, INI.replace(before, after, 1), "faces.ini")


def test_esrdgans_weights_are_begun_from_where_it_would_load_them(tmp_path):
    paths = INI.replace("generator_load_path =", "generator_load_path = runs/a/G_100.pth")
    paths = paths.replace("discriminator_load_path", "discriminator_load_path = runs/a/D_100.pth")
    off = imported(tmp_path, paths, "faces.ini")
    assert off.recipe.start.generator == ""
    assert any(note.reason == "load_model_from_save is off" for note in off.notes)
    on = imported(tmp_path, paths.replace("from_save = False", "from_save = True"), "faces.ini")
    assert (on.recipe.start.generator, on.recipe.start.discriminator) == ("runs/a/G_100.pth", "runs/a/D_100.pth")
    assert on.recipe.generator == RRDBNetConfig(features=128, blocks=12), "the same network, as its files are read"
    small = paths.replace("from_save = False", "from_save = True").replace("lff_kern_size = 3", "lff_kern_size = 1")
    other = imported(tmp_path, small, "faces.ini")
    assert isinstance(other.recipe.generator, ESRDnetConfig)


# ----------------------------------------------------------------------------------------------- weights to begin from


def begun(recipe: Recipe, **start: Path) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """The state of both networks of a run that begins from these files."""
    values = {name: str(path) for name, path in start.items()}
    changed = recipe.model_copy(
        update={"start": recipe.start.model_copy(update=values), "perceptual": None, "device": "cpu"}
    )
    parts = build_parts(changed, load_networks(changed), Processes("cpu"))
    assert parts.discriminator is not None
    return parts.generator.state_dict(), parts.discriminator.state_dict()


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def other_values(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: value + 1 if value.dtype.is_floating_point else value for name, value in state.items()}


@pytest.mark.parametrize(
    ("judge", "network"),
    [
        ("type: UNetDiscriminatorSN", UNetConfig(features=4)),
        ("type: UNetDiscriminatorAesrgan", AttentionUNetConfig(features=4)),
        ("type: multiscale\n  num_D: 2", MultiScaleConfig(features=4, scales=2)),
    ],
)
def test_basicsrs_weights_are_begun_from(tmp_path, judge, network):
    text = REAL_ESRGAN.replace(NETWORK_G, "network_g: {type: RRDBNet, num_feat: 8, num_block: 2, num_grow_ch: 4}")
    text = text.replace("type: UNetDiscriminatorSN", judge).replace("num_in_ch: 3\n  num_feat: 64", "num_feat: 4")
    recipe = imported(tmp_path, text).recipe
    assert recipe.discriminator == network
    torch.manual_seed(1)
    generator, discriminator = (config.build().state_dict() for config in (recipe.generator, network))
    torch.save({"params": other_values(generator), "params_ema": generator}, tmp_path / "net_g_5000.pth")
    torch.save({"params": discriminator}, tmp_path / "net_d_5000.pth")
    ours = begun(recipe, generator=tmp_path / "net_g_5000.pth", discriminator=tmp_path / "net_d_5000.pth")
    assert same(ours[0], generator), "the average is what is begun from"
    assert same(ours[1], discriminator)


def test_esrdgans_weights_are_begun_from(tmp_path):
    """Its names, as its classes write them, and its BGR, which is turned."""
    text = INI.replace("num_features = 128", "num_features = 8").replace("num_rrdb = 12", "num_rrdb = 1")
    text = text.replace("rdb_growth_chan = 32", "rdb_growth_chan = 4").replace("num_features = 96", "num_features = 4")
    text = text.replace("from_save = False", "from_save = True").replace("load_path =", "load_path = G_100.pth")
    recipe = imported(tmp_path, text, "faces.ini").recipe
    assert isinstance(recipe.discriminator, ESRDGANConfig)
    state = theirs_of_esrdgan(features=8, growth=4)
    torch.save(state, tmp_path / "G_100.pth")
    judge = recipe.discriminator.build().state_dict()
    torch.save(judge, tmp_path / "D_100.pth")
    generator, discriminator = begun(recipe, generator=tmp_path / "G_100.pth", discriminator=tmp_path / "D_100.pth")
    assert torch.equal(generator["conv_first.weight"], state["model.0.weight"].flip(1))
    assert torch.equal(generator["body.0.rdb2.conv5.weight"], state["model.1.module.0.rdbs.1.LFF.weight"])
    assert torch.equal(generator["conv_last.bias"], state["model.6.bias"].flip(0))
    assert torch.equal(discriminator["classifier.2.weight"], judge["classifier.2.weight"])


def test_esrdgans_weights_with_small_fusing_kernels_are_begun_from(tmp_path):
    text = INI.replace("num_features = 128", "num_features = 8").replace("num_rrdb = 12", "num_rrdb = 1")
    text = text.replace("rdb_growth_chan = 32", "rdb_growth_chan = 4").replace("num_features = 96", "num_features = 4")
    text = text.replace("rdb_res_scaling = 0.2\nrrdb", "rdb_res_scaling = 0.1\nrrdb").replace(
        "lff_kern_size = 3", "lff_kern_size = 1"
    )
    recipe = imported(tmp_path, text, "faces.ini").recipe
    state = theirs_of_esrdgan(features=8, growth=4, lff_kernel=1)
    torch.save(state, tmp_path / "G_100.pth")
    generator, _ = begun(recipe, generator=tmp_path / "G_100.pth")
    fusing = [value for name, value in generator.items() if name.endswith("LFF.weight")]
    assert torch.equal(fusing[1], state["model.1.module.0.rdbs.1.LFF.weight"])


def theirs_of_esrdgan(features: int, growth: int, lff_kernel: int = 3) -> dict[str, torch.Tensor]:
    torch.manual_seed(2)
    shapes = {"model.0": (features, 3), "model.1.module.1": (features, features)}
    for dense in range(3):
        for conv in range(1, 5):
            inputs = features + (conv - 1) * growth
            shapes[f"model.1.module.0.rdbs.{dense}.conv{conv}.conv.0"] = (growth, inputs)
        shapes[f"model.1.module.0.rdbs.{dense}.LFF"] = (features, features + 4 * growth)
    shapes |= dict.fromkeys(("model.2.upconv.1", "model.3.upconv.1", "model.4"), (features, features))
    shapes["model.6"] = (3, features)
    state: dict[str, torch.Tensor] = {}
    for name, (outputs, inputs) in shapes.items():
        kernel = lff_kernel if name.endswith("LFF") else 3
        state[f"{name}.weight"], state[f"{name}.bias"] = (
            torch.randn(outputs, inputs, kernel, kernel),
            torch.randn(outputs),
        )
    return state


# ----------------------------------------------------------------------------------------------------------- writing


@pytest.mark.parametrize("name", RECIPES)
def test_a_shipped_recipe_is_written_as_itself(name):
    assert find_shortest(load_recipe(name)) == (name, {"name": name})


def test_what_a_recipe_has_not_its_base_has_not_either():
    changes = ["generator.network=rrdbnet", "generator.features=8", "steps=7", "perceptual.layers={conv1_1=2.0}"]
    recipe = load_recipe("realesrgan", changes).model_copy(update={"discriminator": None, "adversarial": None})
    base, values = find_shortest(recipe)
    assert not base or load_recipe(base).discriminator is None, "TOML has no word to take one away again"
    text = format_recipe(values)
    assert "layers = {" in text
    again = tomllib.loads(text)
    assert again == values
    assert validate(Recipe, override(read_shipped_recipe(base) if base else {}, again), "again") == recipe


@pytest.mark.parametrize("value", [1e-4, 5e-5, 1e-7, 0.1, 1 / 3, 12345.678, 400_000.0, 3.0, 1e22, 2.5e-4, 1e-300])
def test_numbers_are_written_to_be_read_again(value):
    text = format_recipe({"a": value})
    assert tomllib.loads(text)["a"] == value
    assert len(text) < 32


@pytest.mark.parametrize("value", ['a "b"', "c:\\d\n", "straße \x7f", ""])
def test_text_is_written_to_be_read_again(value):
    assert tomllib.loads(format_recipe({"a b": value})) == {"a b": value}
