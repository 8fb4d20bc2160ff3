# What jobs ask for: cores, GPUs, memory and time, on a machine of their own and on a cluster. Memory counts on a single
# machine only where a limit is given, such as --resources mem_mb=32000.
LARGE = 1_000_000_000  # bytes
# Cores keep a GPU fed: one decodes about 20 photos of 12 megapixels a second, or 400 of 640x480. Clusters have 4 to 16 cores
# for each GPU.
CORES, LARGE_CORES = 4, 8
# On a machine with a GPU, so many archives share it that one starts, and one publishes, while others are inferred.
ARCHIVES_PER_GPU = 3
SMALL, SMALL_CORES = 32_000_000, 2  # bytes; the start of such an archive is most of its time
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


def gpu_limit():
    """The value of --resources gpu."""
    limits = workflow.global_resources
    return limits["gpu"].value if "gpu" in limits else 1


@functools.cache
def local_gpus():
    """How many GPUs the jobs use between them on this machine."""
    return min(gpu_limit(), len(gpu.visible())) if uses_gpu() and gpu_limit() else 0


def gpus_of_run(wildcards, input):
    """How many GPUs the jobs on a machine may use between them."""
    return config["gpus_per_archive"] if on_cluster() else gpu_limit()


def gpus_per_archive(wildcards):
    """What Snakemake counts. On a machine with GPUs it counts none: archives share them, and cores limit how many run at
    once."""
    if on_cluster():
        return config["gpus_per_archive"] if uses_gpu() else 0
    return 0 if local_gpus() else min(config["gpus_per_archive"], gpu_limit())


@functools.cache
def number_to_do():
    """How many archives the run does, as far as the records tell."""
    return len(PLAN.pending.keys() | asked_for_again())


def archives_at_once():
    """How many archives share the cores of this machine."""
    if local_gpus():
        sharing = ARCHIVES_PER_GPU * local_gpus() // min(config["gpus_per_archive"], local_gpus())
        return max(1, min(sharing, number_to_do()))
    return max(1, gpu_limit()) // max(1, min(config["gpus_per_archive"], gpu_limit()))


def cores_per_archive(wildcards):
    """An even share of the cores for each archive that may run at once."""
    if on_cluster():
        return CORES if archive_bytes(wildcards.archive) < LARGE else LARGE_CORES
    cores = max(1, all_cores(wildcards) // archives_at_once())
    if local_gpus() and number_to_do() > archives_at_once() and archive_bytes(wildcards.archive) < SMALL:
        return min(SMALL_CORES, cores)
    return cores


def all_cores(wildcards):
    if on_cluster():
        return CORES
    # A report is made without `--cores`, where `workflow.cores` would fail.
    return workflow.global_resources["_cores"].value or 1


def half_of_the_cores(wildcards):
    """Sheets and pages are made at the same time."""
    return max(1, all_cores(wildcards) // 2)


def crop_memory(wildcards, threads, attempt):
    """Megabytes. Measured on CPUs: 650, up to 250 more for each core beyond two, and 1,200 when it meets bombs. The engine
    process of a GPU has torch and CUDA, with 3 GB, and what workers have in flight there, with half a GB."""
    if on_cluster():
        engines = config["gpus_per_archive"] if uses_gpu() else 0
    else:
        engines = min(config["gpus_per_archive"], local_gpus())
    return (2000 + 250 * threads + 4000 * engines) * attempt


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
