/* A driver library that tells what a text file says: libnvidia-ml.so.1 for the unmodified binding.

   The environment variable NVML_DOUBLE names a folder. Its file `state` is read anew on every call; its folder
   `processes` has a file for each process that holds memory (see nvml_double.py, which writes and explains both).
   A line that is not there is a thing that this card does not tell: NVML_ERROR_NOT_SUPPORTED. */

#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { OK = 0, UNINITIALIZED = 1, INVALID = 2, NOT_SUPPORTED = 3, NOT_FOUND = 6, TOO_SMALL = 7, NOT_LOADED = 9, TIMEOUT = 10,
       VERSION_MISMATCH = 25 };
enum { GPUS = 16, SLOTS = 8, PROCESSES = 256, EVENTS = 64, LINKS = 64, ANSWERS = 64 };
#define UNKNOWN (-1LL)
#define NOT_AVAILABLE (~0ULL)

typedef unsigned long long u64;
typedef void *handle_t;
typedef struct { u64 total, free, used; } memory_v1;
typedef struct { unsigned version; u64 total, reserved, free, used; } memory_v2;
typedef struct { unsigned pid; u64 used; unsigned gpu_instance, compute_instance; } process_t;
typedef struct { char legacy[16]; unsigned domain, bus, device, id, subsystem; char address[32]; } pci_t;
typedef struct { unsigned field, scope; long long at, latency; unsigned type, code; union { double d; unsigned u; u64 l; } value; } field_t;
typedef struct { handle_t device; u64 type, data; unsigned gpu_instance, compute_instance; } event_t;

typedef struct { char uuid[96], name[96]; u64 total, reserved; } part_t;
typedef struct {
    part_t whole, slot[SLOTS];
    char pci[32];
    long long used, major, minor, numa, temperature, power, limit, energy, reasons, ecc, recovery, mig, fault, switches, kinds;
    long long rows[4];
} gpu_t;
typedef struct { char kind, uuid[96]; unsigned pid; long long bytes; int listed; } owner_t;
typedef struct { char name[64]; int gpu, code; } answer_t;
typedef struct { int one, other, ancestor, nvlinks, reads; } link_t_;
typedef struct {
    int gpus, owners, events, links, answers, init, linger, counts;
    long long slow_ms, pid_offset, cuda;
    char driver[64];
    gpu_t gpu[GPUS];
    owner_t owner[PROCESSES];
    struct { long long number; int gpu; u64 type, data; } event[EVENTS];
    link_t_ link[LINKS * 2];
    answer_t answer[ANSWERS];
} state_t;

static __thread state_t now;
static int opened;
static void path_of(char *path, size_t size, const char *name) {
    const char *home = getenv("NVML_DOUBLE");
    snprintf(path, size, "%s/%s", home ? home : ".", name);
}

/* --- reading the state ------------------------------------------------------------------------------------------ */

static void blank(gpu_t *gpu) {
    memset(gpu, 0, sizeof *gpu);
    gpu->major = gpu->numa = gpu->temperature = gpu->power = gpu->limit = gpu->energy = UNKNOWN;
    gpu->reasons = gpu->ecc = gpu->recovery = gpu->mig = gpu->kinds = gpu->rows[0] = UNKNOWN;
}

static void read_gpu(gpu_t *gpu, const char *key, const char *value) {
    struct { const char *key; long long *place; } numbers[] = {
        {"used", &gpu->used}, {"numa", &gpu->numa}, {"temperature", &gpu->temperature}, {"power", &gpu->power},
        {"limit", &gpu->limit}, {"energy", &gpu->energy}, {"reasons", &gpu->reasons}, {"ecc", &gpu->ecc},
        {"recovery", &gpu->recovery}, {"mig", &gpu->mig}, {"fault", &gpu->fault}, {"switches", &gpu->switches},
        {"kinds", &gpu->kinds},
    };
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        if (!strcmp(key, numbers[i].key)) *numbers[i].place = atoll(value);
    if (!strcmp(key, "uuid")) snprintf(gpu->whole.uuid, sizeof gpu->whole.uuid, "%s", value);
    if (!strcmp(key, "name")) snprintf(gpu->whole.name, sizeof gpu->whole.name, "%s", value);
    if (!strcmp(key, "pci")) snprintf(gpu->pci, sizeof gpu->pci, "%s", value);
    if (!strcmp(key, "total")) gpu->whole.total = strtoull(value, NULL, 10);
    if (!strcmp(key, "reserved")) gpu->whole.reserved = strtoull(value, NULL, 10);
    if (!strcmp(key, "capability")) sscanf(value, "%lld %lld", &gpu->major, &gpu->minor);
    if (!strcmp(key, "rows")) sscanf(value, "%lld %lld %lld %lld", gpu->rows, gpu->rows + 1, gpu->rows + 2, gpu->rows + 3);
}

static void read_line(char *line) {
    char key[64] = "", value[256] = "", uuid[96], name[96];
    int gpu = -1, slot, n = 0;
    u64 total, reserved;
    owner_t *owner = &now.owner[now.owners];
    answer_t *answer = &now.answer[now.answers];
    link_t_ *link = &now.link[now.links];
    if (sscanf(line, "gpu %d %63s %n", &gpu, key, &n) == 2 && gpu >= 0 && gpu < GPUS) {
        while (now.gpus <= gpu) blank(&now.gpu[now.gpus++]);
        read_gpu(&now.gpu[gpu], key, line + n);
    } else if (sscanf(line, "mig %d %d %95s %llu %llu %95[^\n]", &gpu, &slot, uuid, &total, &reserved, name) == 6
               && gpu >= 0 && gpu < GPUS && slot >= 0 && slot < SLOTS) {
        part_t *part = &now.gpu[gpu].slot[slot];
        strcpy(part->uuid, uuid);
        strcpy(part->name, name);
        part->total = total;
        part->reserved = reserved;
    } else if (sscanf(line, "process %c %95s %u %lld", &owner->kind, owner->uuid, &owner->pid, &owner->bytes) == 4) {
        owner->listed = 1;
        now.owners += now.owners < PROCESSES - 1;
    } else if (sscanf(line, "event %lld %d %llu %llu", &now.event[now.events].number, &now.event[now.events].gpu,
                      &now.event[now.events].type, &now.event[now.events].data) == 4) {
        now.events += now.events < EVENTS - 1;
    } else if (sscanf(line, "link %d %d %d %d %d", &link->one, &link->other, &link->ancestor, &link->nvlinks, &link->reads) == 5) {
        now.links += now.links < LINKS * 2 - 1;
    } else if (sscanf(line, "answer %63s %d %d", answer->name, &answer->gpu, &answer->code) == 3) {
        now.answers += now.answers < ANSWERS - 1;
    } else if (sscanf(line, "%63s %255[^\n]", key, value) == 2) {
        if (!strcmp(key, "driver")) snprintf(now.driver, sizeof now.driver, "%.63s", value);
        if (!strcmp(key, "cuda")) now.cuda = atoll(value);
        if (!strcmp(key, "init")) now.init = atoi(value);
        if (!strcmp(key, "slow_ms")) now.slow_ms = atoll(value);
        if (!strcmp(key, "linger")) now.linger = atoi(value);
        if (!strcmp(key, "pid_offset")) now.pid_offset = atoll(value);
        if (!strcmp(key, "counts")) now.counts = atoi(value);
    }
}

static int is_alive(const char *pid) {
    char path[64], state = 'X';
    snprintf(path, sizeof path, "/proc/%.20s/stat", pid);
    FILE *file = fopen(path, "r");
    if (!file) return 0;
    /* A process that is dead and not yet waited for holds no memory. Its name may have blanks and brackets. */
    char text[512], *end;
    size_t size = fread(text, 1, sizeof text - 1, file);
    text[size] = 0;
    fclose(file);
    end = strrchr(text, ')');
    if (end) sscanf(end + 1, " %c", &state);
    return state != 'Z' && state != 'X';
}

static void read_processes(void) {
    char folder[512], path[800], line[256];
    path_of(folder, sizeof folder, "processes");
    DIR *all = opendir(folder);
    if (!all) return;
    for (struct dirent *each; (each = readdir(all));) {
        if (strspn(each->d_name, "0123456789") != strlen(each->d_name)) continue;
        int alive = is_alive(each->d_name);
        if (!alive && !now.linger) continue;
        snprintf(path, sizeof path, "%s/%s", folder, each->d_name);
        FILE *file = fopen(path, "r");
        while (file && fgets(line, sizeof line, file) && now.owners < PROCESSES - 1) {
            owner_t *owner = &now.owner[now.owners];
            if (sscanf(line, "%95s %lld", owner->uuid, &owner->bytes) != 2) continue;
            owner->kind = 'c';
            owner->pid = atoi(each->d_name) + now.pid_offset;
            owner->listed = alive;
            now.owners++;
        }
        if (file) fclose(file);
    }
    closedir(all);
}

static void read_state(void) {
    char path[512], line[512];
    memset(&now, 0, sizeof now);
    path_of(path, sizeof path, "state");
    FILE *file = fopen(path, "r");
    if (!file) now.init = NOT_LOADED;
    while (file && fgets(line, sizeof line, file)) {
        line[strcspn(line, "\n")] = 0;
        read_line(line);
    }
    if (file) fclose(file);
    read_processes();
}

static void count_call(const char *name) {
    char path[512], line[96];
    path_of(path, sizeof path, "calls");
    int file = open(path, O_WRONLY | O_CREAT | O_APPEND, 0644);
    int size = snprintf(line, sizeof line, "%s\n", name);
    if (file < 0) return;
    if (write(file, line, size) != size) abort();
    close(file);
}

/* A call into a slow driver ends early when the state says that the driver is quick again. */
static void be_slow(void) {
    struct timespec step = {0, 5 * 1000 * 1000};
    for (long long waited_ms = 0; waited_ms < now.slow_ms; waited_ms += 5) {
        nanosleep(&step, NULL);
        read_state();
    }
}

static int answer_of(const char *name, int gpu) {
    for (int i = 0; i < now.answers; i++)
        if (!strcmp(now.answer[i].name, name) && (now.answer[i].gpu < 0 || now.answer[i].gpu == gpu)) return now.answer[i].code;
    return OK;
}

static int enter(const char *name) {
    read_state();
    if (now.counts) count_call(name);
    be_slow();
    for (int i = 0; i < now.answers; i++)
        if (now.answer[i].gpu < 0 && !strcmp(now.answer[i].name, name)) return now.answer[i].code;
    return now.init ? now.init : opened ? OK : UNINITIALIZED;
}

/* --- handles: 1 + gpu for a card, and 1000 + 10 * gpu + slot for an instance ------------------------------------- */

static int gpu_of(handle_t handle) {
    long number = (long)handle;
    return number >= 1000 ? (number - 1000) / 10 : number - 1;
}

static part_t *part_of(handle_t handle) {
    long number = (long)handle;
    gpu_t *gpu = &now.gpu[gpu_of(handle)];
    return number >= 1000 ? &gpu->slot[(number - 1000) % 10] : &gpu->whole;
}

static int is_slot(handle_t handle) { return (long)handle >= 1000; }

static int enter_gpu(const char *name, handle_t handle) {
    int code = enter(name);
    if (code) return code;
    int gpu = gpu_of(handle);
    if (gpu < 0 || gpu >= now.gpus) return INVALID;
    if (now.gpu[gpu].fault) return now.gpu[gpu].fault;
    if (!part_of(handle)->uuid[0]) return NOT_FOUND;
    return answer_of(name, gpu);
}

#define ENTER(name) do { int code_ = enter(name); if (code_) return code_; } while (0)
#define ENTER_GPU(name, handle) do { int code_ = enter_gpu(name, handle); if (code_) return code_; } while (0)

/* --- the library as a whole -------------------------------------------------------------------------------------- */

int nvmlInitWithFlags(unsigned flags) {
    (void)flags;
    int code = enter("nvmlInitWithFlags");
    if (code && code != UNINITIALIZED) return code;
    opened++;
    return OK;
}
int nvmlInit_v2(void) { return nvmlInitWithFlags(0); }
int nvmlShutdown(void) {
    ENTER("nvmlShutdown");
    opened--;
    return OK;
}
const char *nvmlErrorString(int code) {
    static __thread char text[32];
    snprintf(text, sizeof text, "error %d of the double", code);
    return text;
}
static int tell(char *to, unsigned size, const char *text) {
    if (strlen(text) >= size) return TOO_SMALL;
    strcpy(to, text);
    return OK;
}
int nvmlSystemGetDriverVersion(char *version, unsigned size) {
    ENTER("nvmlSystemGetDriverVersion");
    return now.driver[0] ? tell(version, size, now.driver) : NOT_SUPPORTED;
}
int nvmlSystemGetCudaDriverVersion(int *version) {
    ENTER("nvmlSystemGetCudaDriverVersion");
    *version = now.cuda;
    return now.cuda ? OK : NOT_SUPPORTED;
}

/* --- which GPUs -------------------------------------------------------------------------------------------------- */

int nvmlDeviceGetCount_v2(unsigned *count) {
    ENTER("nvmlDeviceGetCount_v2");
    *count = now.gpus;
    return OK;
}
int nvmlDeviceGetHandleByIndex_v2(unsigned index, handle_t *handle) {
    ENTER("nvmlDeviceGetHandleByIndex_v2");
    if (index >= (unsigned)now.gpus) return INVALID;
    *handle = (handle_t)(long)(1 + index);
    return now.gpu[index].fault ? now.gpu[index].fault : answer_of("nvmlDeviceGetHandleByIndex_v2", index);
}
int nvmlDeviceGetHandleByUUID(const char *uuid, handle_t *handle) {
    ENTER("nvmlDeviceGetHandleByUUID");
    for (long gpu = 0; gpu < now.gpus; gpu++) {
        *handle = (handle_t)(1 + gpu);
        if (!strcmp(now.gpu[gpu].whole.uuid, uuid)) return now.gpu[gpu].fault;
        for (long slot = 0; slot < SLOTS; slot++) {
            *handle = (handle_t)(1000 + 10 * gpu + slot);
            if (!strcmp(now.gpu[gpu].slot[slot].uuid, uuid)) return now.gpu[gpu].fault;
        }
    }
    return NOT_FOUND;
}
int nvmlDeviceGetIndex(handle_t handle, unsigned *index) {
    ENTER_GPU("nvmlDeviceGetIndex", handle);
    *index = is_slot(handle) ? ((long)handle - 1000) % 10 : gpu_of(handle);
    return OK;
}
int nvmlDeviceGetUUID(handle_t handle, char *uuid, unsigned size) {
    ENTER_GPU("nvmlDeviceGetUUID", handle);
    return tell(uuid, size, part_of(handle)->uuid);
}
int nvmlDeviceGetName(handle_t handle, char *name, unsigned size) {
    ENTER_GPU("nvmlDeviceGetName", handle);
    return tell(name, size, part_of(handle)->name);
}
static void tell_pci(pci_t *pci, const char *address) {
    memset(pci, 0, sizeof *pci);
    sscanf(address, "%x:%x:%x", &pci->domain, &pci->bus, &pci->device);
    snprintf(pci->address, sizeof pci->address, "%s", address);
    snprintf(pci->legacy, sizeof pci->legacy, "%04x:%02x:%02x.0", pci->domain & 0xffff, pci->bus & 0xff, pci->device & 0xff);
}
int nvmlDeviceGetPciInfo_v3(handle_t handle, pci_t *pci) {
    ENTER_GPU("nvmlDeviceGetPciInfo_v3", handle);
    tell_pci(pci, now.gpu[gpu_of(handle)].pci);
    return pci->address[0] ? OK : NOT_SUPPORTED;
}
int nvmlDeviceGetCudaComputeCapability(handle_t handle, int *major, int *minor) {
    ENTER_GPU("nvmlDeviceGetCudaComputeCapability", handle);
    gpu_t *gpu = &now.gpu[gpu_of(handle)];
    *major = gpu->major;
    *minor = gpu->minor;
    return gpu->major == UNKNOWN ? NOT_SUPPORTED : OK;
}
int nvmlDeviceGetMemoryAffinity(handle_t handle, unsigned words, unsigned long *nodes, unsigned scope) {
    (void)scope;
    ENTER_GPU("nvmlDeviceGetMemoryAffinity", handle);
    long long node = now.gpu[gpu_of(handle)].numa;
    if (node == UNKNOWN) return NOT_SUPPORTED;
    memset(nodes, 0, words * sizeof *nodes);
    if (node >= 64LL * words) return TOO_SMALL;
    nodes[node / 64] = 1UL << node % 64;
    return OK;
}

/* --- memory and who has it --------------------------------------------------------------------------------------- */

static u64 used_of(handle_t handle) {
    gpu_t *gpu = &now.gpu[gpu_of(handle)];
    part_t *part = part_of(handle);
    u64 used = is_slot(handle) ? 0 : gpu->used;
    for (int i = 0; i < now.owners; i++) {
        int is_here = !strcmp(now.owner[i].uuid, part->uuid);
        for (int slot = 0; !is_slot(handle) && slot < SLOTS; slot++)
            is_here |= part_of(handle)->uuid[0] && !strcmp(now.owner[i].uuid, gpu->slot[slot].uuid);
        if (is_here && now.owner[i].bytes > 0) used += now.owner[i].bytes;
    }
    u64 most = part->total - part->reserved;
    return used < most ? used : most;
}
int nvmlDeviceGetMemoryInfo(handle_t handle, memory_v1 *memory) {
    ENTER_GPU("nvmlDeviceGetMemoryInfo", handle);
    part_t *part = part_of(handle);
    memory->total = part->total;
    memory->used = used_of(handle) + part->reserved;
    memory->free = part->total - memory->used;
    return part->total ? OK : NOT_SUPPORTED;
}
int nvmlDeviceGetMemoryInfo_v2(handle_t handle, memory_v2 *memory) {
    ENTER_GPU("nvmlDeviceGetMemoryInfo_v2", handle);
    part_t *part = part_of(handle);
    if (memory->version != (sizeof *memory | 2 << 24)) return VERSION_MISMATCH;
    memory->total = part->total;
    memory->reserved = part->reserved;
    memory->used = used_of(handle);
    memory->free = part->total - part->reserved - memory->used;
    return part->total ? OK : NOT_SUPPORTED;
}
static int tell_processes(const char *name, char kind, handle_t handle, unsigned *size, process_t *processes) {
    ENTER_GPU(name, handle);
    unsigned found = 0;
    for (int i = 0; i < now.owners; i++) {
        owner_t *owner = &now.owner[i];
        if (!owner->listed || owner->kind != kind || strcmp(owner->uuid, part_of(handle)->uuid)) continue;
        if (processes && found < *size) {
            process_t told = {owner->pid, owner->bytes < 0 ? NOT_AVAILABLE : (u64)owner->bytes, ~0U, ~0U};
            processes[found] = told;
        }
        found++;
    }
    int fits = processes ? found <= *size : found == 0;
    *size = found;
    return fits ? OK : TOO_SMALL;
}
int nvmlDeviceGetComputeRunningProcesses_v3(handle_t handle, unsigned *size, process_t *processes) {
    return tell_processes("nvmlDeviceGetComputeRunningProcesses_v3", 'c', handle, size, processes);
}
int nvmlDeviceGetGraphicsRunningProcesses_v3(handle_t handle, unsigned *size, process_t *processes) {
    return tell_processes("nvmlDeviceGetGraphicsRunningProcesses_v3", 'g', handle, size, processes);
}
int nvmlDeviceGetMPSComputeRunningProcesses_v3(handle_t handle, unsigned *size, process_t *processes) {
    return tell_processes("nvmlDeviceGetMPSComputeRunningProcesses_v3", 'm', handle, size, processes);
}

/* --- condition --------------------------------------------------------------------------------------------------- */

#define TELL(function, type, key)                                                                                       \
    int function(handle_t handle, type *value) {                                                                        \
        ENTER_GPU(#function, handle);                                                                                   \
        *value = now.gpu[gpu_of(handle)].key;                                                                           \
        return is_slot(handle) || now.gpu[gpu_of(handle)].key == UNKNOWN ? NOT_SUPPORTED : OK;                          \
    }
TELL(nvmlDeviceGetPowerUsage, unsigned, power)
TELL(nvmlDeviceGetEnforcedPowerLimit, unsigned, limit)
TELL(nvmlDeviceGetTotalEnergyConsumption, u64, energy)
TELL(nvmlDeviceGetCurrentClocksEventReasons, u64, reasons)
TELL(nvmlDeviceGetCurrentClocksThrottleReasons, u64, reasons)

int nvmlDeviceGetTemperature(handle_t handle, unsigned sensor, unsigned *celsius) {
    ENTER_GPU("nvmlDeviceGetTemperature", handle);
    *celsius = now.gpu[gpu_of(handle)].temperature;
    return sensor || is_slot(handle) || now.gpu[gpu_of(handle)].temperature == UNKNOWN ? NOT_SUPPORTED : OK;
}
int nvmlDeviceGetTotalEccErrors(handle_t handle, unsigned kind, unsigned counter, u64 *count) {
    (void)counter;
    ENTER_GPU("nvmlDeviceGetTotalEccErrors", handle);
    long long ecc = now.gpu[gpu_of(handle)].ecc;
    *count = kind == 1 ? ecc : 0;
    return is_slot(handle) || ecc == UNKNOWN ? NOT_SUPPORTED : OK;
}
int nvmlDeviceGetRemappedRows(handle_t handle, unsigned *corrected, unsigned *uncorrected, unsigned *pending, unsigned *failed) {
    ENTER_GPU("nvmlDeviceGetRemappedRows", handle);
    long long *rows = now.gpu[gpu_of(handle)].rows;
    *corrected = rows[0];
    *uncorrected = rows[1];
    *pending = rows[2];
    *failed = rows[3];
    return is_slot(handle) || rows[0] == UNKNOWN ? NOT_SUPPORTED : OK;
}
int nvmlDeviceGetFieldValues(handle_t handle, int count, field_t *fields) {
    ENTER_GPU("nvmlDeviceGetFieldValues", handle);
    long long recovery = now.gpu[gpu_of(handle)].recovery;
    for (int i = 0; i < count; i++) {
        int is_told = fields[i].field == 230 && recovery != UNKNOWN;
        fields[i].code = is_told ? OK : NOT_SUPPORTED;
        fields[i].type = 1;
        fields[i].value.u = is_told ? recovery : 0;
    }
    return OK;
}

/* --- instances --------------------------------------------------------------------------------------------------- */

int nvmlDeviceGetMigMode(handle_t handle, unsigned *current, unsigned *pending) {
    ENTER_GPU("nvmlDeviceGetMigMode", handle);
    *current = *pending = now.gpu[gpu_of(handle)].mig;
    return now.gpu[gpu_of(handle)].mig == UNKNOWN ? NOT_SUPPORTED : OK;
}
int nvmlDeviceGetMaxMigDeviceCount(handle_t handle, unsigned *count) {
    ENTER_GPU("nvmlDeviceGetMaxMigDeviceCount", handle);
    *count = now.gpu[gpu_of(handle)].mig == UNKNOWN ? 0 : 7;
    return OK;
}
int nvmlDeviceGetMigDeviceHandleByIndex(handle_t handle, unsigned slot, handle_t *instance) {
    ENTER_GPU("nvmlDeviceGetMigDeviceHandleByIndex", handle);
    if (slot >= SLOTS) return INVALID;
    *instance = (handle_t)(long)(1000 + 10 * gpu_of(handle) + slot);
    return now.gpu[gpu_of(handle)].slot[slot].uuid[0] ? OK : NOT_FOUND;
}
int nvmlDeviceGetDeviceHandleFromMigDeviceHandle(handle_t instance, handle_t *handle) {
    ENTER_GPU("nvmlDeviceGetDeviceHandleFromMigDeviceHandle", instance);
    *handle = (handle_t)(long)(1 + gpu_of(instance));
    return is_slot(instance) ? OK : INVALID;
}

/* --- links: to another GPU directly, or to a switch that joins all that have links to one --------------------------- */

static link_t_ *link_of(int one, int other) {
    for (int i = 0; i < now.links; i++)
        if ((now.link[i].one == one && now.link[i].other == other) || (now.link[i].one == other && now.link[i].other == one))
            return &now.link[i];
    return NULL;
}
/* The GPU at the other end, GPUS for a switch, -1 where there is no such link. */
static int end_of(int gpu, int number) {
    for (int other = 0; other < now.gpus; other++) {
        link_t_ *link = other == gpu ? NULL : link_of(gpu, other);
        if (link && number < link->nvlinks) return other;
        number -= link ? link->nvlinks : 0;
    }
    return number < now.gpu[gpu].switches ? GPUS : -1;
}
int nvmlDeviceGetTopologyCommonAncestor(handle_t one, handle_t other, unsigned *level) {
    ENTER_GPU("nvmlDeviceGetTopologyCommonAncestor", one);
    link_t_ *link = link_of(gpu_of(one), gpu_of(other));
    if (!link || is_slot(one)) return NOT_SUPPORTED;
    *level = link->ancestor;
    return now.gpu[gpu_of(other)].fault;
}
int nvmlDeviceGetP2PStatus(handle_t one, handle_t other, unsigned what, unsigned *status) {
    ENTER_GPU("nvmlDeviceGetP2PStatus", one);
    link_t_ *link = link_of(gpu_of(one), gpu_of(other));
    int are_switched = now.gpu[gpu_of(one)].switches && now.gpu[gpu_of(other)].switches;
    if (is_slot(one)) return NOT_SUPPORTED;
    int is_ok = what == 2 ? are_switched || (link && link->nvlinks) : link && link->reads;
    *status = is_ok ? 0 : 5;
    return link || are_switched ? now.gpu[gpu_of(other)].fault : NOT_SUPPORTED;
}
int nvmlDeviceGetNvLinkState(handle_t handle, unsigned link, unsigned *is_active) {
    ENTER_GPU("nvmlDeviceGetNvLinkState", handle);
    if (is_slot(handle) || end_of(gpu_of(handle), 0) < 0) return NOT_SUPPORTED;
    *is_active = 1;
    return end_of(gpu_of(handle), link) < 0 ? INVALID : OK;
}
int nvmlDeviceGetNvLinkRemotePciInfo_v2(handle_t handle, unsigned link, pci_t *pci) {
    ENTER_GPU("nvmlDeviceGetNvLinkRemotePciInfo_v2", handle);
    int end = end_of(gpu_of(handle), link);
    if (is_slot(handle) || end < 0) return NOT_SUPPORTED;
    tell_pci(pci, end == GPUS ? "00000000:C4:00.0" : now.gpu[end].pci);
    return OK;
}

/* --- events: each is told once to each process that waits, of the cards and kinds that it has registered ------------ */

static long long delivered = -1;
static u64 registered[GPUS];

int nvmlEventSetCreate(handle_t *set) {
    ENTER("nvmlEventSetCreate");
    memset(registered, 0, sizeof registered);
    /* What has happened before is told to nobody. */
    for (int i = 0; i < now.events; i++)
        if (now.event[i].number > delivered) delivered = now.event[i].number;
    *set = (handle_t)1;
    return OK;
}
int nvmlEventSetFree(handle_t set) {
    (void)set;
    memset(registered, 0, sizeof registered);
    return OK;
}
int nvmlDeviceGetSupportedEventTypes(handle_t handle, u64 *types) {
    ENTER_GPU("nvmlDeviceGetSupportedEventTypes", handle);
    *types = now.gpu[gpu_of(handle)].kinds;
    return is_slot(handle) || now.gpu[gpu_of(handle)].kinds == UNKNOWN ? NOT_SUPPORTED : OK;
}
int nvmlDeviceRegisterEvents(handle_t handle, u64 types, handle_t set) {
    (void)set;
    ENTER_GPU("nvmlDeviceRegisterEvents", handle);
    long long kinds = now.gpu[gpu_of(handle)].kinds;
    if (is_slot(handle) || kinds == UNKNOWN || (types & ~(u64)kinds)) return NOT_SUPPORTED;
    registered[gpu_of(handle)] |= types;
    return OK;
}
/* The next event for this process, then the fault of a card that it has registered. */
static int next_event(event_t *event) {
    for (int i = 0; i < now.events; i++) {
        int gpu = now.event[i].gpu;
        if (now.event[i].number <= delivered) continue;
        delivered = now.event[i].number;
        if (gpu < 0 || gpu >= GPUS || !(registered[gpu] & now.event[i].type)) continue;
        event_t told = {(handle_t)(long)(1 + gpu), now.event[i].type, now.event[i].data, ~0U, ~0U};
        *event = told;
        return OK;
    }
    for (int gpu = 0; gpu < now.gpus; gpu++)
        if (registered[gpu] && now.gpu[gpu].fault) return now.gpu[gpu].fault;
    return TIMEOUT;
}
int nvmlEventSetWait_v2(handle_t set, event_t *event, unsigned timeout_ms) {
    (void)set;
    struct timespec step = {0, 5 * 1000 * 1000};
    for (long long waited_ms = 0;; waited_ms += 5) {
        ENTER("nvmlEventSetWait_v2");
        int code = next_event(event);
        if (code != TIMEOUT || waited_ms >= timeout_ms) return code;
        nanosleep(&step, NULL);
    }
}
