"""Options files of KAIR, traiNNer-redux, neosr and BasicSR of 2019 and 2020 become recipes.

The files are written for these tests with the keys of published ones: KAIR's train_rrdb_psnr.json and
train_bsrgan_x4_gan.json, traiNNer-redux's ESRGAN_fromscratch.yml and Compact_OTF_finetune.yml, neosr's
train_span_otf.toml, BasicSR's train_ESRGAN.yml of 2019.
"""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from tessera.degrade import RealESRGANDegradation
from tessera.discriminators.unet import UNetConfig
from tessera.errors import UsageError
from tessera.generators import RRDBNetConfig, SRVGGNetCompactConfig
from tessera.train.importing import Imported, import_config
from tessera.train.importing.files import MOST_VALUES, read_ini, read_yaml
from tessera.train.recipe import load_recipe


def imported(tmp_path: Path, name: str, text: str) -> Imported:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    found = import_config(path)
    again = tmp_path / "again.toml"
    again.write_text(found.text, encoding="utf-8")
    assert load_recipe(str(again)) == found.recipe
    return found


# --------------------------------------------------------------------------------------------------------------- KAIR

KAIR_RRDB = """{
  "task": "rrdb"  // a comment
  , "model": "plain"
  , "gpu_ids": [0]
  , "scale": 4
  , "n_channels": 3
  , "path": {"root": "superresolution", "pretrained_netG": null}
  , "datasets": {
    "train": {"name": "train_dataset", "dataset_type": "sr", "dataroot_H": "trainsets/trainH", "dataroot_L": null
      , "H_size": 96, "dataloader_shuffle": true, "dataloader_num_workers": 8, "dataloader_batch_size": 16}
    , "test": {"name": "test_dataset", "dataset_type": "sr", "dataroot_H": "testsets/set5", "dataroot_L": null}
  }
  , "netG": {"net_type": "rrdb", "in_nc": 3, "out_nc": 3, "nc": 64, "nb": 23, "gc": 32, "ng": 2, "reduction": 16
    , "act_mode": "R", "upsample_mode": "upconv", "init_type": "orthogonal", "init_gain": 0.2}
  , "train": {"G_lossfn_type": "l1", "G_lossfn_weight": 1.0, "G_optimizer_type": "adam", "G_optimizer_lr": 1e-4
    , "G_optimizer_clipgrad": null, "G_scheduler_type": "MultiStepLR"
    , "G_scheduler_milestones": [200000, 400000, 600000], "G_scheduler_gamma": 0.5
    , "checkpoint_test": 5000, "checkpoint_save": 4000, "checkpoint_print": 200}
}"""


def test_kairs_rrdb_is_imported(tmp_path: Path) -> None:
    found = imported(tmp_path, "train_rrdb_psnr.json", KAIR_RRDB)
    recipe = found.recipe
    assert recipe.generator == RRDBNetConfig(blocks=23, features=64, growth=32, scale=4)
    assert recipe.discriminator is None
    assert (recipe.name, recipe.steps, recipe.ema) == ("rrdb", 600_000, 0)
    assert (recipe.data.patch, recipe.data.batch, recipe.data.workers) == (96, 16, 8)
    assert [str(path) for path in (*recipe.data.train, *recipe.data.val)] == ["trainsets/trainH", "testsets/set5"]
    assert recipe.degradation.kind == "matlab-bicubic"
    assert (recipe.pixel.criterion, recipe.optimizer.rate, recipe.optimizer.betas) == ("l1", 1e-4, (0.9, 0.999))
    assert recipe.schedule.model_dump()["milestones"] == (200_000, 400_000, 600_000)
    assert (recipe.validation.every, recipe.checkpoint.every, recipe.report.every) == (5000, 4000, 200)
    said = "\n".join(found.sentences)
    assert "train.G_scheduler_milestones: the last milestone is the number of steps" in said
    assert "netG.act_mode: RRDBNet has leaky ReLUs" in said


def test_kairs_bsrgan_is_imported_with_its_discriminator_and_losses(tmp_path: Path) -> None:
    text = (
        KAIR_RRDB.replace('"plain"', '"gan"')
        .replace('"rrdb", "in_nc"', '"rrdbnet", "in_nc"')
        .replace('"nc": 64', '"nf": 64')
        .replace('"sr", "dataroot_H": "trainsets', '"blindsr", "dataroot_H": "trainsets')
        .replace('"H_size": 96', '"H_size": 288, "lq_patchsize": 56, "degradation_type": "bsrgan", "shuffle_prob": 0.1')
        .replace('"checkpoint_test": 5000', '"checkpoint_test": 50000000000')
        .replace(
            '"G_lossfn_type"',
            '"F_lossfn_type": "l1", "F_lossfn_weight": 1, "F_feature_layer": [2,7,16,25,34]'
            ', "F_weights": [0.1,0.1,1.0,1.0,1.0], "F_use_input_norm": true'
            ', "gan_type": "lsgan", "D_lossfn_weight": 0.5'
            ', "E_decay": 0.999, "D_optimizer_type": "adam", "D_optimizer_lr": 5e-5, "D_scheduler_type": "MultiStepLR"'
            ', "D_scheduler_milestones": [800000], "D_scheduler_gamma": 0.5, "G_lossfn_type"',
        )
        .replace('"netG": {', '"netD": {"net_type": "discriminator_unet", "in_nc": 3, "base_nc": 48}, "netG": {')
    )
    recipe = imported(tmp_path, "train_bsrgan_x4_gan.json", text).recipe
    assert recipe.discriminator == UNetConfig(features=48)
    assert recipe.adversarial is not None
    assert (recipe.adversarial.form, recipe.adversarial.relativism, recipe.adversarial.weight) == ("lsgan", "none", 0.5)
    assert recipe.perceptual is not None
    # torchvision counts VGG19's layers from 0: 2 is the second convolution, 34 the last
    assert recipe.perceptual.layers == {"conv1_2": 0.1, "conv2_2": 0.1, "conv3_4": 1, "conv4_4": 1, "conv5_4": 1}
    assert isinstance(recipe.degradation, RealESRGANDegradation)
    assert (recipe.data.patch, recipe.cut.margin, recipe.cut.place) == (224, 32, "random")  # 56 x 4, and 288 around it
    assert (recipe.ema, recipe.validation.every) == (0.999, 0)
    assert recipe.discriminator_optimizer is not None
    assert recipe.discriminator_optimizer.rate == 5e-5


def test_kairs_other_networks_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"`netG.net_type` is dncnn.*rrdbnet"):
        imported(tmp_path, "a.json", KAIR_RRDB.replace('"net_type": "rrdb"', '"net_type": "dncnn"'))


# ----------------------------------------------------------------------------------------------------- traiNNer-redux

REDUX = """
name: 4x_ESRGAN
scale: 4
use_amp: true
amp_bf16: true
num_gpu: auto
datasets:
  train:
    name: Train Dataset
    type: pairedimagedataset
    dataroot_gt: [train/hr, train/hr2]
    dataroot_lq: [train/lr, train/lr2]
    lq_size: 64
    use_hflip: true
    use_rot: true
    num_worker_per_gpu: 8
    batch_size_per_gpu: 6
    accum_iter: 2
  val:
    name: Val Dataset
    type: pairedimagedataset
    dataroot_gt: [val/hr]
    dataroot_lq: [val/lr]
network_g:
  type: esrgan
  use_pixel_unshuffle: true
path:
  pretrain_network_g: pretrain.pth
  param_key_g: ~
  strict_load_g: true
  resume_state: ~
train:
  ema_decay: 0.998
  grad_clip: false
  optim_g: {type: AdamW, lr: !!float 2e-4, weight_decay: 0, betas: [0.9, 0.99]}
  scheduler: {type: MultiStepLR, milestones: [200000, 400000], gamma: 0.5}
  total_iter: 500000
  warmup_iter: -1
  losses:
    - {type: msssiml1loss, alpha: 0.1, loss_weight: 0.7}
    - {type: ldlloss, loss_weight: 0}
val:
  val_enabled: false
  val_freq: 1000
  save_img: true
  metrics: {psnr: {type: calculate_psnr, crop_border: 4, test_y_channel: false}}
logger:
  print_freq: 100
  save_checkpoint_freq: 1000
  save_checkpoint_format: safetensors
  use_tb_logger: true
"""


def test_reduxs_esrgan_is_imported(tmp_path: Path) -> None:
    found = imported(tmp_path, "ESRGAN_fromscratch.yml", REDUX)
    recipe = found.recipe
    assert recipe.generator == RRDBNetConfig(scale=4)
    assert recipe.discriminator is None
    assert (recipe.steps, recipe.ema, recipe.optimizer.rate) == (500_000, 0.998, 2e-4)
    assert (recipe.data.patch, recipe.data.batch) == (256, 6)  # 64 x 4
    assert [str(path) for path in recipe.data.lq or ()] == ["train/lr", "train/lr2"]
    assert (recipe.step.precision, recipe.step.accumulate, recipe.step.clip) == ("bf16", 2, 0)
    assert (recipe.pixel.criterion, recipe.pixel.weight) == ("l1", 0.7)
    assert recipe.start.generator == "pretrain.pth"
    assert (recipe.validation.every, recipe.checkpoint.every) == (0, 1000)
    assert "L1 of its weight is used" in "\n".join(found.sentences)
    assert "save_checkpoint_format" not in "\n".join(found.sentences)


@pytest.mark.parametrize(
    ("network", "expected"),
    [
        ("type: compact", SRVGGNetCompactConfig(features=64, convolutions=16)),
        ("type: ultracompact", SRVGGNetCompactConfig(features=64, convolutions=8)),
        ("type: superultracompact", SRVGGNetCompactConfig(features=24, convolutions=8)),
        ("type: ESRGAN_lite", RRDBNetConfig(features=32, blocks=12)),
        ("type: esrgan\n  num_blocks: 6\n  num_filters: 48", RRDBNetConfig(features=48, blocks=6)),
    ],
)
def test_reduxs_networks_of_the_family(tmp_path: Path, network: str, expected: object) -> None:
    text = REDUX.replace("type: esrgan\n  use_pixel_unshuffle: true", network)
    assert imported(tmp_path, "a.yml", text).recipe.generator == expected


@pytest.mark.parametrize(("scale", "shuffles"), [(1, True), (2, True), (1, False), (2, False), (4, False)])
def test_reduxs_pixel_unshuffle_is_heeded(tmp_path: Path, scale: int, shuffles: bool) -> None:
    text = REDUX.replace("scale: 4", f"scale: {scale}").replace(
        "unshuffle: true", f"unshuffle: {str(shuffles).lower()}"
    )
    generator = imported(tmp_path, "a.yml", text).recipe.generator
    assert isinstance(generator, RRDBNetConfig)
    # BasicSR's RRDBNet upsamples x4 whatever its scale, after unshuffling the input of x1 and x2
    assert generator.multiple == (4 // scale if shuffles else 1)


def test_reduxs_degradations_and_discriminator(tmp_path: Path) -> None:
    text = (
        REDUX.replace("pairedimagedataset\n    dataroot_gt: [train", "realesrgandataset\n    dataroot_gt: [train")
        .replace("    dataroot_lq: [train/lr, train/lr2]\n", "    blur_sigma: [0.2, 2]\n    final_sinc_prob: 0.0\n")
        .replace("num_gpu: auto", "jpeg_range: [75, 95]\njpeg_prob: 0.5\nresize_range: [0.4, 1.5]\nqueue_size: 120")
        .replace("path:", "network_d:\n  type: metagan2\npath:")
        .replace("  losses:", "  optim_d: {type: AdamW, lr: 1.0e-4, weight_decay: 0, betas: [0.9, 0.99]}\n  losses:")
        .replace(
            "    - {type: ldlloss, loss_weight: 0}",
            "    - {type: ldlloss, loss_weight: 1}\n    - {type: ganloss, gan_type: vanilla, loss_weight: 0.1}\n"
            "    - {type: perceptualloss, criterion: pd+l1, loss_weight: 0.03}",
        )
    )
    found = imported(tmp_path, "a.yml", text)
    recipe = found.recipe
    assert isinstance(recipe.discriminator, UNetConfig)
    assert recipe.adversarial is not None
    assert (recipe.adversarial.relativism, recipe.adversarial.weight) == ("none", 0.1)
    assert recipe.perceptual is not None
    assert (recipe.perceptual.criterion, recipe.perceptual.weight) == ("l1", 0.03)
    assert isinstance(recipe.degradation, RealESRGANDegradation)
    assert recipe.degradation.first.jpeg.quality == (75, 95)
    assert recipe.degradation.first.blur.sigma == (0.2, 2)
    assert recipe.degradation.final.sinc_probability == 0
    assert recipe.pool == 120
    assert not recipe.sharpen.pixel
    said = "\n".join(found.sentences)
    for words in ("metagan2 is not available", "ldlloss is not available", "pd+l1 is not available", "jpeg_prob"):
        assert words in said


def test_reduxs_other_networks_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"`network_g.type` is span, an unknown generator.*esrgan"):
        imported(tmp_path, "a.yml", REDUX.replace("type: esrgan", "type: span"))


# -------------------------------------------------------------------------------------------------------------- neosr

NEOSR = r"""
name = "train_compact_otf"
model_type = "otf"
scale = 4
use_amp = true
bfloat16 = true
[datasets.train]
type = "otf"
dataroot_gt = 'C:\datasets\gt\'
patch_size = 48
batch_size = 8
accumulate = 2
augmentation = ["none", "mixup"]
[degradations]
resize_range = [0.5, 1.5]
jpeg_range = [40, 95]
jpeg_range2 = [35, 95]
kernel_list = ["iso", "aniso"]
kernel_prob = [0.5, 0.5]
blur_sigma2 = [0.2, 1.5]
final_sinc_prob = 0.8
[datasets.val]
name = "val"
type = "paired"
dataroot_gt = 'val/gt'
dataroot_lq = 'val/lq'
[val]
val_freq = 1000
[network_g]
type = "compact"
[network_d]
type = "unet"
[train]
ema = 0.999
wavelet_guided = true
[train.optim_g]
type = "adan_sf"
lr = 1e-3
betas = [0.98, 0.92, 0.99]
schedule_free = true
[train.optim_d]
type = "adan_sf"
lr = 1e-4
betas = [0.98, 0.92, 0.99]
[train.mssim_opt]
type = "mssim_loss"
loss_weight = 1.0
[train.gan_opt]
type = "gan_loss"
gan_type = "bce"
loss_weight = 0.3
[logger]
total_iter = 90000
save_checkpoint_freq = 1000
use_tb_logger = true
"""


def test_neosrs_toml_is_imported(tmp_path: Path) -> None:
    found = imported(tmp_path, "train_compact_otf.toml", NEOSR)
    recipe = found.recipe
    assert recipe.generator == SRVGGNetCompactConfig(features=64, convolutions=16, scale=4)
    assert isinstance(recipe.discriminator, UNetConfig)
    assert (recipe.steps, recipe.ema, recipe.optimizer.rate, recipe.data.patch) == (90_000, 0.999, 1e-3, 192)
    assert (recipe.data.batch, recipe.step.accumulate, recipe.step.precision) == (8, 2, "bf16")
    assert recipe.adversarial is not None
    assert (recipe.adversarial.form, recipe.adversarial.weight) == ("vanilla", 0.3)
    assert recipe.pixel.weight == 1.0
    assert isinstance(recipe.degradation, RealESRGANDegradation)
    assert recipe.degradation.first.jpeg.quality == (40, 95)
    assert recipe.degradation.second.jpeg.quality == (35, 95)
    assert recipe.degradation.second.blur.sigma == (0.2, 1.5)
    assert recipe.degradation.final.sinc_probability == 0.8
    said = "\n".join(found.sentences)
    for words in ("adan_sf is not available", "wavelet_guided", "augmentation"):
        assert words in said


def test_a_recipe_is_not_taken_for_a_foreign_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"A recipe in TOML is used as it is"):
        imported(tmp_path, "a.toml", 'recipe = "esrgan"\n')


# ------------------------------------------------------------------------------------------- BasicSR of 2019 and 2020

MMSR = """
name: 001_RRDB_ESRGAN_x4_DIV2K
use_tb_logger: true
model: srgan
distortion: sr
scale: 4
gpu_ids: [0]
datasets:
  train:
    name: DIV2K
    mode: LQGT
    dataroot_GT: DIV2K800_sub.lmdb
    dataroot_LQ: DIV2K800_sub_bicLRx4.lmdb
    use_shuffle: true
    n_workers: 6
    batch_size: 16
    GT_size: 128
    use_flip: true
    use_rot: true
    color: RGB
  val: {name: val_set14, mode: LQGT, dataroot_GT: Set14, dataroot_LQ: Set14_bicLRx4}
network_G: {which_model_G: RRDBNet, in_nc: 3, out_nc: 3, nf: 64, nb: 23}
network_D: {which_model_D: discriminator_vgg_128, in_nc: 3, nf: 64}
path: {pretrain_model_G: RRDB_PSNR_x4.pth, strict_load: true, resume_state: ~}
train:
  lr_G: !!float 1e-4
  weight_decay_G: 0
  beta1_G: 0.9
  beta2_G: 0.99
  lr_D: !!float 1e-4
  beta1_D: 0.9
  beta2_D: 0.99
  lr_scheme: MultiStepLR
  niter: 400000
  warmup_iter: -1
  lr_steps: [50000, 100000, 200000, 300000]
  lr_gamma: 0.5
  pixel_criterion: l1
  pixel_weight: !!float 1e-2
  feature_criterion: l1
  feature_weight: 1
  gan_type: ragan
  gan_weight: !!float 5e-3
  D_update_ratio: 1
  D_init_iters: 0
  manual_seed: 10
  val_freq: !!float 5e3
logger: {print_freq: 100, save_checkpoint_freq: !!float 5e3}
"""


def test_basicsr_of_2019_is_imported(tmp_path: Path) -> None:
    recipe = imported(tmp_path, "train_ESRGAN.yml", MMSR).recipe
    assert recipe.generator == RRDBNetConfig(blocks=23, features=64, scale=4)
    assert recipe.discriminator is not None
    assert recipe.discriminator.required_side == 128
    assert recipe.adversarial is not None
    assert (recipe.adversarial.relativism, recipe.adversarial.weight) == ("average", 5e-3)
    assert (recipe.steps, recipe.seed, recipe.optimizer.betas) == (400_000, 10, (0.9, 0.99))
    assert (recipe.data.patch, recipe.data.batch, recipe.data.workers) == (128, 16, 6)
    assert str((recipe.data.lq or ("",))[0]) == "DIV2K800_sub_bicLRx4.lmdb"
    assert recipe.start.generator == "RRDB_PSNR_x4.pth"
    assert (recipe.validation.every, recipe.checkpoint.every) == (5000, 5000)


def test_the_cosine_restarts_of_2019_are_imported(tmp_path: Path) -> None:
    text = MMSR.replace("model: srgan", "model: sr").replace(
        "lr_scheme: MultiStepLR",
        "lr_scheme: CosineAnnealingLR_Restart\n  T_period: [250000, 150000]\n  restarts: [250000]\n"
        "  restart_weights: [0.5]\n  eta_min: !!float 1e-7",
    )
    schedule = imported(tmp_path, "a.yml", text).recipe.schedule.model_dump()
    assert schedule["periods"] == (250_000, 150_000)
    assert (schedule["weights"], schedule["floor"]) == ((1.0, 0.5), 1e-7)


def test_basicsr_of_2020_with_niter_and_memcached_is_imported(tmp_path: Path) -> None:
    text = """
name: rrdb
model: SRModel
scale: 4
datasets:
  train:
    name: DIV2K
    type: PairedImageDataset
    dataroot_gt: gt
    dataroot_lq: lq
    io_backend: {type: memcached, server_list_cfg: a.conf, client_cfg: b.conf, sys_path: c}
    gt_size: 128
    batch_size: 5
    n_workers: 3
network_g: {type: RRDBNet, num_in_ch: 3, num_out_ch: 3, num_feat: 64, num_block: 23}
train:
  optim_g: {type: Adam, lr: 2.0e-4, weight_decay: 0, betas: [0.9, 0.99]}
  scheduler: {type: MultiStepLR, milestones: [10], gamma: 0.5}
  niter: 7000
  pixel_opt: {type: L1Loss, loss_weight: 1.0, reduction: mean}
"""
    found = imported(tmp_path, "train.yml", text)
    assert (found.recipe.steps, found.recipe.data.batch, found.recipe.data.workers) == (7000, 5, 3)
    assert [str(path) for path in found.recipe.data.train] == ["gt"]
    assert "io_backend.type: the files themselves are read" in "\n".join(found.sentences)


# ---------------------------------------------------------------------------------------------------- hostile files


@pytest.mark.parametrize("blanks", ["   ", "\t\t", "\u00a0", "\u200b", "\ufeff", "\x00", "\x0c \x1c\r"])
def test_blanks_and_invisible_characters_do_not_count_in_ini_files(tmp_path: Path, blanks: str) -> None:
    path = tmp_path / "a.ini"
    path.write_text(
        f"[DEFAULT]{blanks}\nmodel{blanks} = {blanks}esrdgan{blanks}\n  scale = 4{blanks}\ngpu_id\n", "utf-8"
    )
    assert read_ini(path) == {"DEFAULT": {"model": "esrdgan", "scale": "4", "gpu_id": None}}


def test_the_keys_of_esrdgans_first_version_are_read(tmp_path: Path) -> None:
    text = (
        "[DEFAULT]\nname = a\nmodel = esrdgan  \nscale = 4\nload_model_from_save = True\n"
        "[ENV]\ngenerator_load_subpath = runs/g.pth\n"
        "[DATASETTRAIN]\nn_workers = 1\nbatch_size = 2\nimg_size = 192\ndataroot = photos\n"
        "[GENERATOR]\nnum_features = 64\n[DISCRIMINATOR]\nnum_features = 64\n[TRAINING]\nniter = 9\n"
    )
    recipe = imported(tmp_path, "a.ini", text).recipe
    assert (recipe.data.patch, [str(path) for path in recipe.data.train]) == (192, ["photos"])
    assert recipe.start.generator == "runs/g.pth"


def bomb(levels: int, merge: bool) -> str:
    lines = ["a0: &a0 {x0: 1, y0: 1}" if merge else "a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    for level in range(1, levels):
        below = f"*a{level - 1}"
        lines.append(
            f"a{level}: &a{level} {{<<: [{', '.join([below] * 9)}], x{level}: 1}}"
            if merge
            else f"a{level}: &a{level} [{', '.join([below] * 9)}]"
        )
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize("merge", [False, True])
@pytest.mark.parametrize("levels", [6, 9, 200])
def test_anchors_and_merges_do_not_expand_without_bound(tmp_path: Path, merge: bool, levels: int) -> None:
    path = tmp_path / "a.yml"
    path.write_text(bomb(levels, merge))
    with pytest.raises(UsageError, match=rf"at most {MOST_VALUES:,} keys and values"):
        read_yaml(path)


def test_a_value_that_contains_itself_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.yml"
    path.write_text("a: &a\n  b: *a\n")
    with pytest.raises(UsageError, match="keys and values"):
        read_yaml(path)


def test_ordinary_anchors_and_merges_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.yml"
    path.write_text("base: &b {lr: 1.0e-4, betas: [0.9, 0.99]}\ng: {<<: *b}\nd: {<<: *b, lr: 2.0e-4}\n")
    found = read_yaml(path)
    assert found["g"] == {"lr": 1e-4, "betas": [0.9, 0.99]}
    assert found["d"] == {"lr": 2e-4, "betas": [0.9, 0.99]}


def test_the_readers_work_is_linear_in_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An ini file of one long line, and JSON of unclosed quotes: the letters looked at double with the file."""
    from tessera.train.importing import files

    counts: list[int] = []
    seen = 0
    original = files._is_invisible

    def count(letter: str) -> bool:
        nonlocal seen
        seen += 1
        return original(letter)

    monkeypatch.setattr(files, "_is_invisible", count)
    for size in (10_000, 20_000):
        seen = 0
        path = tmp_path / "a.ini"
        path.write_text("[A]\nx = " + "\t" * size + "1" + "\t" * size + "\n")
        assert read_ini(path) == {"A": {"x": "1"}}
        counts.append(seen)
    assert counts[1] < 2.1 * counts[0]
    pattern = files._COMMENT_OR_TEXT
    for size in (1000, 2000):  # each letter belongs to one match at most: nothing is scanned again
        text = '\\"' * size
        matches = [found.span() for found in pattern.finditer(text)]
        assert sum(end - start for start, end in matches) <= len(text)
        assert len(matches) == 1


def test_a_recipe_text_has_no_key_of_another_program(tmp_path: Path) -> None:
    found = imported(tmp_path, "a.yml", REDUX)
    assert set(tomllib.loads(found.text)) <= {"recipe", *type(found.recipe).model_fields}
