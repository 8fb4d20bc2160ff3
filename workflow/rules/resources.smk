# What jobs ask for: cores, GPUs, memory and time, on a machine of their own and on a cluster. Memory counts on a single
# machine only where a limit is given, such as --resources mem_mb=32000.
LARGE = 1_000_000_000  # bytes
# Cores keep a GPU fed: one decodes about 11 photos of 12 megapixels a second, or 260 of 640x480. Clusters have 4 to 16 cores
# for each GPU.
CORES, LARGE_CORES = 4, 8
# Without a GPU, a core does 3 photos a second (yolov8s at 640 pixels), and few have less than 100 kB.
BYTES_PER_CORE_SECOND = 300_000


def on_cluster():
    """Whether jobs are submitted to a cluster, or this is such a job."""
    submits = workflow.global_resources["_nodes"].value is not None if workflow.dryrun else workflow.non_local_exec
    return submits or workflow.remote_exec


@functools.cache
def archive_bytes(archive):
    return ARCHIVES[archive].size()


def uses_gpu():
    """Whether the jobs would use a GPU, as `device.choose` decides."""
    return config["device"] != "cpu" and config["engine"] != "openvino" and config["precision"] != "int8"


def gpus():
    """How many GPUs, or archives at a time where there are none, the run may use."""
    limits = workflow.global_resources
    return max(1, limits["gpu"].value) if "gpu" in limits else 1


def gpus_per_archive(wildcards):
    if on_cluster():
        return config["gpus_per_archive"] if uses_gpu() else 0
    return min(config["gpus_per_archive"], gpus())


def cores_per_archive(wildcards):
    """An even share of the cores for each archive that may run at once."""
    if on_cluster():
        return CORES if archive_bytes(wildcards.archive) < LARGE else LARGE_CORES
    return max(1, all_cores(wildcards) // (gpus() // gpus_per_archive(wildcards)))


def all_cores(wildcards):
    if on_cluster():
        return CORES
    # A report is made without `--cores`, where `workflow.cores` would fail.
    return workflow.global_resources["_cores"].value or 1


def half_of_the_cores(wildcards):
    """Sheets and pages are made at the same time."""
    return max(1, all_cores(wildcards) // 2)


def crop_memory(wildcards, threads, attempt):
    """Megabytes. Measured on CPUs: 650, up to 250 more for each core beyond two, and 1,200 when it meets bombs. On a GPU
    each worker has torch and CUDA, with 2 to 3 GB."""
    workers = device.worker_count(config["workers"], "cuda", threads, config["gpus_per_archive"]) if uses_gpu() else 0
    return (2000 + 250 * threads + 3000 * workers) * attempt


def crop_minutes(wildcards, threads, attempt):
    """Twice what the archive would take on CPUs alone if its photos were small, and at least 30, since loading the
    libraries from a busy file system may take minutes. Each try gets twice as long as the one before, and carries on
    from there."""
    seconds = archive_bytes(wildcards.archive) / BYTES_PER_CORE_SECOND / threads
    return max(30, round(2 * seconds / 60)) * 2 ** (attempt - 1)


def report_memory(wildcards, attempt):
    return 2000 * attempt


def report_minutes(wildcards, attempt):
    """Minutes for each step. All of them read the manifests, a million rows in some seconds."""
    return 30 * 2 ** (attempt - 1)


def quantization_memory(wildcards, attempt):
    """Megabytes. Measured: 1,350 (yolov8s at 640 pixels)."""
    return 4000 * attempt


def quantization_minutes(wildcards, attempt):
    """The work takes minutes, but its photos are drawn from all archives."""
    return 60 * 2 ** (attempt - 1)


def limit_uploads():
    """Limits how many uploads run at once, which take no cores that would limit them."""
    if config["upload_to"] != "none" and "upload" not in workflow.global_resources:
        workflow.register_resource("upload", 4)
