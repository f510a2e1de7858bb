/*: always */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>
#include <linux/fiemap.h>
#include <linux/fs.h>

#define PAGE 4096UL
#define EXT4_IOC_GET_ES_CACHE _IOWR('f', 42, struct fiemap)
#define EXT4_FIEMAP_EXTENT_HOLE 0x08000000	/* of EXT4_IOC_GET_ES_CACHE only */

static const char *root, *device;
static _Thread_local const char *word;	/* a result that is no number, or NULL */
static _Thread_local int not_opened;	/* why a file could not be opened, an errno, or 0 */

static void die(const char *what)
{
	fprintf(stderr, "%s: %s\n", what, strerror(errno));
	exit(2);
}

static const char *error_name(void)
{
	return errno == ENOTSUP ? "ENOTSUP" : strerrorname_np(errno);
}

static const char *path(const char *name)
{
	static char text[2][PATH_MAX];
	static int turn;

	turn = !turn;
	snprintf(text[turn], PATH_MAX, "%s/%s", root, name);
	return text[turn];
}

/* The descriptors of each file stay open until something closes them. */
static struct { char name[256]; int flags, fd; } opened[256];
static int opened_count;

static int descriptor(const char *name, int flags)
{
	for (int i = 0; i < opened_count; i++)
		if (!strcmp(opened[i].name, name) && opened[i].flags == flags)
			return opened[i].fd;
	if (flags && descriptor(name, 0) < 0)	/* the plain one comes first */
		return -1;
	int fd = open(path(name), O_RDWR | O_CLOEXEC | (flags ? flags : O_CREAT), 0644);
	if (fd < 0) {
		not_opened = errno;
		return -1;
	}
	snprintf(opened[opened_count].name, 256, "%s", name);
	opened[opened_count].flags = flags;
	opened[opened_count++].fd = fd;
	return fd;
}

static void close_file(const char *name)
{
	for (int i = opened_count; i--; )
		if (!name || !strcmp(opened[i].name, name)) {
			close(opened[i].fd);
			opened[i] = opened[--opened_count];
		}
}

/* A buffer of whole pages, filled with what a write with `tag` puts at `offset`. */
static __attribute__((unused))
unsigned char *filled(size_t length, uint64_t tag, uint64_t offset)
{
	unsigned char *data = mmap(NULL, length + 1, PROT_READ | PROT_WRITE,
				   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (data == MAP_FAILED)
		die("mmap");
	for (size_t i = 0; i < length; i++)
		data[i] = tag * 167 + (offset + i) * 13 + (offset + i) / 512;
	return data;
}

static __attribute__((unused))
long released(unsigned char *data, size_t length, long result)
{
	int saved = errno;

	munmap(data, length + 1);
	errno = saved;
	return result;
}

static const char *state(uint32_t flags)
{
	if (flags & FIEMAP_EXTENT_DELALLOC)
		return "delayed";
	if (flags & FIEMAP_EXTENT_DATA_INLINE)
		return "inline";
	return flags & FIEMAP_EXTENT_UNWRITTEN ? "unwritten" : "written";
}

/* FIEMAP without FIEMAP_FLAG_SYNC, which would write the file back. */
static void show_extents(int fd, unsigned long request, const char *title)
{
	enum { MOST = 256 };
	static union {
		struct fiemap map;
		char space[sizeof(struct fiemap) + MOST * sizeof(struct fiemap_extent)];
	} buffer;
	struct fiemap *map = &buffer.map;
	uint64_t start = 0;

	do {
		memset(&buffer, 0, sizeof(buffer));
		map->fm_start = start;
		map->fm_length = FIEMAP_MAX_OFFSET - start;
		map->fm_extent_count = MOST;
		if (ioctl(fd, request, map) < 0) {
			if (request == FS_IOC_FIEMAP)
				printf(" %s %s", title, error_name());
			return;
		}
		if (!start && (map->fm_mapped_extents || request == FS_IOC_FIEMAP))
			printf(" %s", title);
		for (unsigned i = 0; i < map->fm_mapped_extents; i++) {
			struct fiemap_extent *extent = &map->fm_extents[i];

			if (!(extent->fe_flags & EXT4_FIEMAP_EXTENT_HOLE))
				printf(" %llu+%llu:%s", (unsigned long long)extent->fe_logical,
				       (unsigned long long)extent->fe_length,
				       state(extent->fe_flags));
			start = extent->fe_logical + extent->fe_length;
			if (extent->fe_flags & FIEMAP_EXTENT_LAST)
				return;
		}
	} while (map->fm_mapped_extents == MOST);
}

static int shown(const struct dirent *entry)
{
	const char *name = entry->d_name;

	return strcmp(name, ".") && strcmp(name, "..") && strcmp(name, "lost+found");
}

static void observe(void)
{
	struct dirent **names;
	struct stat status;
	int count = scandir(root, &names, shown, alphasort);

	for (int i = 0; i < count; i++) {
		const char *name = names[i]->d_name;
		int known = -1, fd;

		for (int k = 0; k < opened_count; k++)
			if (!strcmp(opened[k].name, name) && !opened[k].flags)
				known = opened[k].fd;
		fd = known < 0 ? open(path(name), O_RDONLY | O_NOATIME | O_CLOEXEC) : known;
		if (fd < 0 || fstat(fd, &status) < 0) {
			printf("  %s %s\n", name, error_name());
			continue;
		}
		printf("  %s size %llu blocks %llu", name, (unsigned long long)status.st_size,
		       (unsigned long long)status.st_blocks);
		show_extents(fd, FS_IOC_FIEMAP, "extents");
		show_extents(fd, EXT4_IOC_GET_ES_CACHE, "cached");
		printf("\n");
		if (known < 0)
			close(fd);
	}
}

/* What a step came to if that is no number, or NULL. The calls of one whose file could not be
   opened went to descriptor -1, which does nothing; the reason is why. */
static const char *outcome(long result)
{
	if (not_opened) {
		errno = not_opened;
		not_opened = 0;
		return error_name();
	}
	return result < 0 ? error_name() : word;
}

static void begin(int number, const char *text)
{
	printf("step %d %s = ", number, text);
	fflush(stdout);		/* it is known where the kernel was if it dies now */
	word = NULL;
}

static void finish(long result)
{
	const char *said = outcome(result);

	if (said)
		printf("%s\n", said);
	else
		printf("%ld\n", result);
	fflush(stdout);
	usleep(50000);		/* for what the kernel's own threads do of it */
	observe();
	fflush(stdout);
}

#define STEP(number, text, call) do { begin(number, text); finish(call); } while (0)

static long drop_caches(void)
{
	int fd = open("/proc/sys/vm/drop_caches", O_WRONLY);
	long result = fd < 0 ? -1 : write(fd, "3", 1);

	close(fd);
	return result < 0 ? -1 : 0;
}

static long remount(void)
{
	close_file(NULL);
	if (!device)
		errno = ENODEV;
	if (!device || umount(root) < 0 || mount(device, root, "ext4", MS_NOATIME, OPTIONS) < 0)
		die("remount (give the device as second argument)");
	return 0;
}

/*: parallel */
#include <pthread.h>
#include <sched.h>
#include <time.h>

/* A call of a thread: it is held back by so many nanoseconds; what came of it. */
struct call {
	const char *text;
	long (*make)(void);
	long hold;
	char result[64];
};

struct thread {
	struct call *calls;
	int count;
};

static pthread_barrier_t all_there;

static void hold_back(long nanoseconds)
{
	struct timespec now, end;

	clock_gettime(CLOCK_MONOTONIC, &end);
	end.tv_nsec += nanoseconds;
	end.tv_sec += end.tv_nsec / 1000000000;
	end.tv_nsec %= 1000000000;
	do
		clock_gettime(CLOCK_MONOTONIC, &now);
	while (now.tv_sec < end.tv_sec ||
	       (now.tv_sec == end.tv_sec && now.tv_nsec < end.tv_nsec));
}

static void *carry_out(void *argument)
{
	struct thread *thread = argument;

	pthread_barrier_wait(&all_there);
	for (int i = 0; i < thread->count; i++) {
		struct call *call = &thread->calls[i];

		hold_back(call->hold);
		word = NULL;
		long result = call->make();
		const char *said = outcome(result);
		if (said)
			snprintf(call->result, sizeof(call->result), "%s", said);
		else
			snprintf(call->result, sizeof(call->result), "%ld", result);
	}
	return NULL;
}

/* Threads against each other, each on a CPU of its own as far as there are any; then sync(2). */
static long run_threads(int count, struct thread *threads)
{
	pthread_t started[8];
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);

	pthread_barrier_init(&all_there, NULL, count);
	for (int i = 0; i < count; i++) {
		cpu_set_t cpu;

		CPU_ZERO(&cpu);
		CPU_SET(i % cpus, &cpu);
		if (pthread_create(&started[i], NULL, carry_out, &threads[i]))
			die("pthread_create");
		pthread_setaffinity_np(started[i], sizeof(cpu), &cpu);
	}
	for (int i = 0; i < count; i++)
		pthread_join(started[i], NULL);
	pthread_barrier_destroy(&all_there);
	sync();
	return 0;
}

static void show_threads(int count, const struct thread *threads)
{
	for (int i = 0; i < count; i++)
		for (int k = 0; k < threads[i].count; k++)
			printf("  thread %d %s = %s\n", i + 1, threads[i].calls[k].text,
			       threads[i].calls[k].result);
	fflush(stdout);
}

/*: pwrite */
static long do_pwrite(const char *name, int64_t offset, size_t length, int tag)
{
	unsigned char *data = filled(length, tag, offset);

	return released(data, length, pwrite(descriptor(name, 0), data, length, offset));
}

/*: pwrite_osync pwrite_odsync */
static long do_pwrite_flags(const char *name, int64_t offset, size_t length, int tag, int flags)
{
	unsigned char *data = filled(length, tag, offset);

	return released(data, length, pwrite(descriptor(name, flags), data, length, offset));
}

/*: append */
static long do_append(const char *name, size_t length, int tag)
{
	int fd = descriptor(name, O_APPEND);
	struct stat status = { 0 };

	fstat(fd, &status);
	unsigned char *data = filled(length, tag, status.st_size);
	return released(data, length, write(fd, data, length));
}

/*: pwrite_fault */
/* The source's pages from byte `fault` on can't be read. */
static long do_pwrite_fault(const char *name, int64_t offset, size_t length, size_t fault, int tag)
{
	unsigned char *data = filled(length, tag, offset);

	fault &= ~(PAGE - 1);
	if (fault < length)
		mprotect(data + fault, length - fault, PROT_NONE);
	return released(data, length, pwrite(descriptor(name, 0), data, length, offset));
}

/*: dwrite pwritev */
#include <sys/uio.h>

/*: dwrite */
static long do_dwrite(const char *name, int64_t offset, size_t length, int tag)
{
	unsigned char *data = filled(length, tag, offset);
	struct iovec vector = { data, length };

	return released(data, length, pwritev(descriptor(name, O_DIRECT), &vector, 1, offset));
}

/*: pwritev */
/* `segments` holds the length of each, and how much of it can be read (-1: all). */
static long do_pwritev(const char *name, int64_t offset, int tag, int count,
		       const int64_t (*segments)[2])
{
	struct iovec vectors[1024];
	int64_t at = offset;
	long result;

	for (int i = 0; i < count; i++) {
		size_t length = segments[i][0], readable = segments[i][1] & ~(PAGE - 1);

		vectors[i].iov_base = filled(length, tag, at);
		vectors[i].iov_len = length;
		if (segments[i][1] >= 0 && readable < length)
			mprotect((char *)vectors[i].iov_base + readable, length - readable,
				 PROT_NONE);
		at += length;
	}
	result = pwritev(descriptor(name, 0), vectors, count, offset);
	for (int i = 0; i < count; i++)
		result = released(vectors[i].iov_base, vectors[i].iov_len, result);
	return result;
}

/*: pread */
/* MD5 (RFC 1321), so that a read's result is one short word. */
static const uint32_t md5_sines[64] = {
	0xd76aa478, 0xe8c7b756, 0x242070db, 0xc1bdceee, 0xf57c0faf, 0x4787c62a, 0xa8304613,
	0xfd469501, 0x698098d8, 0x8b44f7af, 0xffff5bb1, 0x895cd7be, 0x6b901122, 0xfd987193,
	0xa679438e, 0x49b40821, 0xf61e2562, 0xc040b340, 0x265e5a51, 0xe9b6c7aa, 0xd62f105d,
	0x02441453, 0xd8a1e681, 0xe7d3fbc8, 0x21e1cde6, 0xc33707d6, 0xf4d50d87, 0x455a14ed,
	0xa9e3e905, 0xfcefa3f8, 0x676f02d9, 0x8d2a4c8a, 0xfffa3942, 0x8771f681, 0x6d9d6122,
	0xfde5380c, 0xa4beea44, 0x4bdecfa9, 0xf6bb4b60, 0xbebfbc70, 0x289b7ec6, 0xeaa127fa,
	0xd4ef3085, 0x04881d05, 0xd9d4d039, 0xe6db99e5, 0x1fa27cf8, 0xc4ac5665, 0xf4292244,
	0x432aff97, 0xab9423a7, 0xfc93a039, 0x655b59c3, 0x8f0ccc92, 0xffeff47d, 0x85845dd1,
	0x6fa87e4f, 0xfe2ce6e0, 0xa3014314, 0x4e0811a1, 0xf7537e82, 0xbd3af235, 0x2ad7d2bb,
	0xeb86d391,
};

static void md5_block(uint32_t sum[4], const unsigned char *data)
{
	static const unsigned char turns[4][4] = {
		{ 7, 12, 17, 22 }, { 5, 9, 14, 20 }, { 4, 11, 16, 23 }, { 6, 10, 15, 21 },
	};
	uint32_t a = sum[0], b = sum[1], c = sum[2], d = sum[3], words[16];

	memcpy(words, data, sizeof(words));	/* little-endian, as x86-64 and arm64 are */
	for (unsigned i = 0; i < 64; i++) {
		unsigned round = i / 16, turn = turns[round][i % 4], k;
		uint32_t mix, next;

		if (round == 0) {
			mix = (b & c) | (~b & d);
			k = i;
		} else if (round == 1) {
			mix = (d & b) | (~d & c);
			k = (5 * i + 1) % 16;
		} else if (round == 2) {
			mix = b ^ c ^ d;
			k = (3 * i + 5) % 16;
		} else {
			mix = c ^ (b | ~d);
			k = (7 * i) % 16;
		}
		next = a + mix + md5_sines[i] + words[k];
		a = d;
		d = c;
		c = b;
		b += next << turn | next >> (32 - turn);
	}
	sum[0] += a;
	sum[1] += b;
	sum[2] += c;
	sum[3] += d;
}

static const char *md5(const unsigned char *data, size_t length)
{
	static _Thread_local char text[33];
	uint32_t sum[4] = { 0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476 };
	unsigned char tail[128] = { 0 };
	uint64_t bits = length * 8;
	size_t rest = length % 64, ends = rest < 56 ? 64 : 128;

	for (size_t at = 0; at + 64 <= length; at += 64)
		md5_block(sum, data + at);
	memcpy(tail, data + length - rest, rest);
	tail[rest] = 0x80;
	memcpy(tail + ends - 8, &bits, 8);
	for (size_t at = 0; at < ends; at += 64)
		md5_block(sum, tail + at);
	for (int i = 0; i < 16; i++)
		sprintf(text + 2 * i, "%02x", ((unsigned char *)sum)[i]);
	return text;
}

static long do_pread(const char *name, int64_t offset, size_t length)
{
	unsigned char *data = filled(length, 0, 0);
	long result = pread(descriptor(name, 0), data, length, offset);

	if (result >= 0)
		word = md5(data, result);
	return released(data, length, result);
}

/*: mwrite mwrite_in mwrite_msync */
/* Each page is made writable first: where a plain store gets SIGBUS, this one can say so. */
static long store(const char *name, int64_t offset, size_t length, int tag, int sync)
{
	int fd = descriptor(name, 0);
	struct stat status = { 0 };
	int64_t first = offset & ~(PAGE - 1);
	size_t size = offset + length - first;
	long result = length;

	fstat(fd, &status);
	if (offset + (int64_t)length > status.st_size) {
		word = "SKIP";
		return 0;
	}
	if (!length)
		return 0;
	unsigned char *data = filled(length, tag, offset);
	unsigned char *map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, first);
	if (map == MAP_FAILED)
		return released(data, length, -1);
	for (size_t at = 0; at < size && result >= 0; at += PAGE) {
		size_t from = at ? at : (size_t)(offset - first);
		size_t to = at + PAGE < size ? at + PAGE : size;

		if (madvise(map + at, PAGE, MADV_POPULATE_WRITE) < 0) {
			result = -1;
			if (errno == EFAULT) {
				word = "SIGBUS";
				result = 0;
				break;
			}
		} else {
			memcpy(map + from, data + (first + from - offset), to - from);
		}
	}
	if (result > 0 && sync && msync(map, size, MS_SYNC) < 0)
		result = -1;
	int saved = errno;
	munmap(map, size);
	errno = saved;
	return released(data, length, result);
}

/*: mwrite mwrite_msync */
static long do_mwrite(const char *name, int64_t offset, size_t length, int tag, int sync)
{
	return store(name, offset, length, tag, sync);
}

/*: mwrite_in */
static long do_mwrite_in(const char *name, double share, size_t length, int tag)
{
	struct stat status = { 0 };

	fstat(descriptor(name, 0), &status);
	int64_t offset = share * status.st_size;
	if (offset > status.st_size)
		offset = status.st_size;
	if ((int64_t)length > status.st_size - offset)
		length = status.st_size - offset;
	return store(name, offset, length, tag, 0);
}

/*: falloc falloc_keep fpunch fzero fzero_keep fcollapse finsert write_zeroes */
static long do_fallocate(const char *name, int mode, int64_t offset, int64_t length)
{
	return fallocate(descriptor(name, 0), mode, offset, length);
}

/*: truncate */
static long do_truncate(const char *name, int64_t size)
{
	return ftruncate(descriptor(name, 0), size);
}

/*: fsync */
static long do_fsync(const char *name)
{
	return fsync(descriptor(name, 0));
}

/*: fdatasync */
static long do_fdatasync(const char *name)
{
	return fdatasync(descriptor(name, 0));
}

/*: sync_range */
static long do_sync_range(const char *name, int64_t offset, int64_t length)
{
	return sync_file_range(descriptor(name, 0), offset, length, 7);
}

/*: close */
static long do_close(const char *name)
{
	close_file(name);
	return 0;
}

/*: otrunc */
static long do_otrunc(const char *name)
{
	close_file(name);
	int fd = open(path(name), O_RDWR | O_TRUNC | O_CLOEXEC);
	return fd < 0 ? -1 : close(fd);
}

/*: sync */
static long do_sync(void)
{
	sync();
	return 0;
}

/*: unlink */
static long do_unlink(const char *name)
{
	close_file(name);
	return unlink(path(name));
}

/*: rename */
static long do_rename(const char *name, const char *to)
{
	close_file(name);
	close_file(to);
	return rename(path(name), path(to));
}

/*: copy_range */
static long do_copy_range(const char *name, int64_t offset, size_t length, const char *to,
			  int64_t target)
{
	int from = descriptor(name, 0), into = descriptor(to, 0);

	return copy_file_range(from, &offset, into, &target, length, 0);
}

/*: sendfile */
#include <sys/sendfile.h>

static long do_sendfile(const char *name, int64_t offset, size_t length, const char *to,
			int64_t target)
{
	int from = descriptor(name, 0), into = descriptor(to, 0);

	if (lseek(into, target, SEEK_SET) < 0)
		return -1;
	return sendfile(into, from, &offset, length);
}

/*: splice */
static long do_splice(const char *name, int64_t offset, size_t length, const char *to,
		      int64_t target)
{
	int from = descriptor(name, 0), into = descriptor(to, 0), ends[2];
	size_t done = 0;
	long got = 0, put = 0;

	if (pipe(ends) < 0)
		return -1;
	while (done < length && put >= 0) {
		size_t want = length - done < 65536 ? length - done : 65536;
		int64_t at = offset + done;

		got = splice(from, &at, ends[1], NULL, want, 0);
		if (got <= 0)
			break;
		while (got > 0) {
			at = target + done;
			put = splice(ends[0], NULL, into, &at, got, 0);
			if (put < 0)
				break;
			got -= put;
			done += put;
		}
	}
	int saved = errno;
	close(ends[0]);
	close(ends[1]);
	errno = saved;
	return (got < 0 || put < 0) && !done ? -1 : (long)done;
}

/*: rlimit_write */
#include <signal.h>
#include <sys/resource.h>

static long do_rlimit_write(const char *name, uint64_t limit, int64_t offset, size_t length,
			    int tag)
{
	unsigned char *data = filled(length, tag, offset);
	int fd = descriptor(name, 0), saved;
	struct rlimit before, now;

	signal(SIGXFSZ, SIG_IGN);
	getrlimit(RLIMIT_FSIZE, &before);
	now = before;
	now.rlim_cur = limit;
	setrlimit(RLIMIT_FSIZE, &now);
	long result = pwrite(fd, data, length, offset);
	saved = errno;
	setrlimit(RLIMIT_FSIZE, &before);
	errno = saved;
	return released(data, length, result);
}

/*: quota_set */
#include <sys/quota.h>

/* The hard block limit of a user, in KiB. */
static long do_quota_set(int uid, uint64_t hard)
{
	struct dqblk limits = { .dqb_bhardlimit = hard, .dqb_valid = QIF_BLIMITS };

	if (!device) {
		errno = ENODEV;
		die("quota (give the device as second argument)");
	}
	return quotactl(QCMD(Q_SETQUOTA, USRQUOTA), device, uid, (caddr_t)&limits);
}

/*: chown */
static long do_chown(const char *name, int uid)
{
	return fchown(descriptor(name, 0), uid, -1);
}

/*: user_write */
static long do_user_write(const char *name, int64_t offset, size_t length, int tag, int uid)
{
	unsigned char *data = filled(length, tag, offset);
	int fd = descriptor(name, 0), saved;

	if (setegid(uid) < 0 || seteuid(uid) < 0)
		die("seteuid");
	long result = pwrite(fd, data, length, offset);
	saved = errno;
	if (seteuid(0) < 0 || setegid(0) < 0)
		die("seteuid");
	errno = saved;
	return released(data, length, result);
}

/*: seek */
/* The data ranges, as START-END. */
static long do_seek(const char *name)
{
	static char text[65536];
	int fd = descriptor(name, 0);
	off_t start, end = 0;
	size_t used = 0;

	text[0] = 0;
	while ((start = lseek(fd, end, SEEK_DATA)) >= 0) {
		end = lseek(fd, start, SEEK_HOLE);
		used += snprintf(text + used, sizeof(text) - used, "%s%lld-%lld", used ? " " : "",
				 (long long)start, (long long)end);
		if (used >= sizeof(text))
			break;
	}
	word = text;
	return errno == ENXIO || start >= 0 ? 0 : -1;
}

/*: remount_opts */
static long do_remount_opts(const char *options)
{
	return mount(device, root, "ext4", MS_REMOUNT | MS_NOATIME, options);
}

/*: shutdown */
static long do_shutdown(uint32_t flags)
{
	int fd = open(root, O_RDONLY | O_DIRECTORY);
	long result = ioctl(fd, _IOR('X', 125, uint32_t), &flags);
	int saved = errno;

	close(fd);
	errno = saved;
	return result;
}

/*: setflags */
static long do_setflags(const char *name, int flags)
{
	int fd = descriptor(name, 0), old = 0;

	if (ioctl(fd, FS_IOC_GETFLAGS, &old) < 0)
		return -1;
	flags |= old & ~(FS_APPEND_FL | FS_IMMUTABLE_FL);
	return ioctl(fd, FS_IOC_SETFLAGS, &flags);
}
