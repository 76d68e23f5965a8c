"""Small sets of images, written in every layout that is read."""

import gzip
import io
import json
import pickle
import struct
import tarfile
import zipfile

import numpy as np
from PIL import Image


def some_images(count=6, channels=3, height=5, width=7, seed=0):
    """Random images [N, C, H, W] uint8."""
    return np.random.default_rng(seed).integers(0, 256, (count, channels, height, width), dtype=np.uint8)


def picture(image):
    return Image.fromarray(image[0] if len(image) == 1 else image.transpose(1, 2, 0))


def encoded(image, form="PNG", **options):
    """The bytes of an image's file; `image` is an array [C, H, W] or a picture of Pillow's."""
    file = io.BytesIO()
    (image if isinstance(image, Image.Image) else picture(image)).save(file, format=form, **options)
    return file.getvalue()


def write_zip(path, members, deflated=False, **modes):
    """A zip file of names and contents."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED if deflated else zipfile.ZIP_STORED) as archive:
        for name, content in members.items():
            info = zipfile.ZipInfo(name)
            info.external_attr = modes.get("mode", 0o100644) << 16
            info.compress_type = archive.compression
            archive.writestr(info, content)
    return path


def official(images, labels=None):
    """Members of the official layout."""
    members = {f"00000/img{row:08d}.png": encoded(image) for row, image in enumerate(images)}
    pairs = None if labels is None else [[name, int(label)] for name, label in zip(members, labels, strict=True)]
    return {**members, "dataset.json": json.dumps({"labels": pairs}).encode()}


def write_folder(path, members):
    """A folder of names and contents."""
    for name, content in members.items():
        file = path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    return path


def idx(array):
    """The bytes of an IDX file."""
    return b"\0\0\x08" + bytes([array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def zipped(content):
    return gzip.compress(content)


def batch(images, labels, key="labels", protocol=2):
    """A batch of CIFAR as Python 3 writes it, with the bytes for keys that Python 2's strings become."""
    rows = np.ascontiguousarray(images.reshape(len(images), -1))
    names = [f"a_{row}.png".encode() for row in range(len(images))]
    values = {
        b"data": rows,
        key.encode(): [int(label) for label in labels],
        b"filenames": names,
        b"batch_label": b"batch",
    }
    return pickle.dumps(values, protocol=protocol)


def python2_batch(images, labels, key="labels"):
    """The same as Python 2 and its NumPy wrote it, opcode by opcode: strings are bytes, the long one is the numbers."""

    def short(text):
        return b"U" + bytes([len(text)]) + text

    raw, count = images.tobytes(), len(images)
    shape = b"M" + struct.pack("<H", count) + b"M\x00\x0c\x86"
    dtype = (
        b"cnumpy\ndtype\n" + short(b"u1") + b"K\x00K\x01\x87R(K\x03" + short(b"|") + b"NNN" + b"J\xff\xff\xff\xff" * 2
    )
    array = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85" + short(b"b") + b"\x87R(K\x01"
    array += shape + dtype + b"K\x00tb\x89T" + struct.pack("<I", len(raw)) + raw + b"tb"
    numbers = b"](" + b"".join(b"K" + bytes([int(label)]) for label in labels) + b"e"
    names = b"](" + b"".join(short(b"caf\xe9_%d.png" % row) for row in range(count)) + b"e"
    return b"\x80\x02}(" + short(b"data") + array + short(key.encode()) + numbers + short(b"filenames") + names + b"u."


def cifar10(images, labels, write=batch):
    """Files of CIFAR-10, of ten images or more: five batches to learn from and, the last fifth again, one of tests."""
    fifth = len(images) // 5
    parts = [slice(start, start + fifth) for start in range(0, 5 * fifth, fifth)]
    files = {f"data_batch_{n}": write(images[part], labels[part]) for n, part in enumerate(parts, 1)}
    return {**files, "test_batch": write(images[parts[-1]], labels[parts[-1]]), "batches.meta": b"\x80\x02}."}


def write_tar(path, members, folder="cifar-10-batches-py/", form=tarfile.PAX_FORMAT, change=None):
    """A `.tar.gz` of names and contents; `change` may alter a member's header."""
    with tarfile.open(path, "w:gz", format=form) as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(folder + name)
            info.size, info.mtime = len(content), 1234567890.25  # a fraction of a second needs a pax attribute
            if change:
                change(info)
            archive.addfile(info, io.BytesIO(content))
    return path
