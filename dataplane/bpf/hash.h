/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/* Which slot of a ring a packet falls on: SipHash-1-3 (Aumasson and Bernstein, 2012) of what the method names.
 *
 * Message: [source & mask][destination & mask][source port], each if asked for, in network order. The key keeps
 * clients from choosing their server. Words are read little endian, which loads on such a machine already do. */
#ifndef HALFPIPE_HASH_H
#define HALFPIPE_HASH_H

#include "parse.h"
#include "types.h"

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "hash.h and the rings need a little-endian machine"
#endif

struct sip {
	__u64 v0, v1, v2, v3;
};

#define ROTATE(x, n) (((x) << (n)) | ((x) >> (64 - (n))))

static __always_inline void sip_round(struct sip *s)
{
	s->v0 += s->v1;
	s->v2 += s->v3;
	s->v1 = ROTATE(s->v1, 13) ^ s->v0;
	s->v3 = ROTATE(s->v3, 16) ^ s->v2;
	s->v0 = ROTATE(s->v0, 32) + s->v3;
	s->v2 += s->v1;
	s->v1 = ROTATE(s->v1, 17) ^ s->v2;
	s->v3 = ROTATE(s->v3, 21) ^ s->v0;
	s->v2 = ROTATE(s->v2, 32);
}

static __always_inline void sip_word(struct sip *s, __u64 word)
{
	s->v3 ^= word;
	sip_round(s);
	s->v0 ^= word;
}

static __always_inline void sip_address(struct sip *s, const struct address *a, const struct address *mask)
{
	__u32 w0 = a->word[0] & mask->word[0], w1 = a->word[1] & mask->word[1];
	__u32 w2 = a->word[2] & mask->word[2], w3 = a->word[3] & mask->word[3];

	sip_word(s, w0 | (__u64)w1 << 32);
	sip_word(s, w2 | (__u64)w3 << 32);
}

static __always_inline void sip_start(struct sip *s, const struct settings *settings)
{
	__u64 key0 = settings->hash_key[0], key1 = settings->hash_key[1];

	s->v0 = key0 ^ 0x736f6d6570736575ULL;
	s->v1 = key1 ^ 0x646f72616e646f6dULL;
	s->v2 = key0 ^ 0x6c7967656e657261ULL;
	s->v3 = key1 ^ 0x7465646279746573ULL;
}

static __always_inline __u64 sip_end(struct sip *s, __u64 last)
{
	sip_word(s, last);
	s->v2 ^= 0xff;
	sip_round(s);
	sip_round(s);
	sip_round(s);
	return s->v0 ^ s->v1 ^ s->v2 ^ s->v3;
}

/* Scales the upper half to the ring: no division, and uniform to within 2^-18. */
static __always_inline __u32 sip_slot(struct sip *s, __u64 last)
{
	return ((__u64)(__u32)(sip_end(s, last) >> 32) * RING_SLOTS) >> 32;
}

/* Both addresses as one number, see struct flow_key. */
static __always_inline __u64 address_pair(const struct settings *settings, const struct address *source,
					  const struct address *destination, int ipv4)
{
	const struct address all = {{~0U, ~0U, ~0U, ~0U}};
	struct sip s;

	if (ipv4)
		return source->word[3] | (__u64)destination->word[3] << 32;
	sip_start(&s, settings);
	sip_address(&s, source, &all);
	sip_address(&s, destination, &all);
	return sip_end(&s, 32ULL << 56);
}

static __always_inline __u32 ring_slot_ipv4(const struct settings *settings, const struct vserver_value *vserver,
					    __be32 source, __be32 destination, __be16 source_port)
{
	__u32 fields = vserver->hash_fields, mask = vserver->mask.word[3];
	__u64 word = 0, length = 0;
	struct sip s;

	sip_start(&s, settings);
	if (fields == HASH_SOURCE)	/* nearly always */
		return sip_slot(&s, (source & mask) | 4ULL << 56);
	/* `word` gathers what is left of a last, partial word */
	if (fields & HASH_SOURCE) {
		word = source & mask;
		length = 4;
	}
	if (fields & HASH_DESTINATION) {
		__u64 masked = destination & mask;

		if (length) {
			sip_word(&s, word | masked << 32);
			word = 0;
		} else {
			word = masked;
		}
		length += 4;
	}
	if (fields & HASH_SOURCE_PORT) {
		word |= (__u64)source_port << (length & 4) * 8;
		length += 2;
	}
	return sip_slot(&s, word | length << 56);
}

static __always_inline __u32 ring_slot_ipv6(const struct settings *settings, const struct vserver_value *vserver,
					    const struct packet *packet)
{
	__u32 fields = vserver->hash_fields;
	__u64 word = 0, length = 0;
	struct sip s;

	sip_start(&s, settings);
	if (fields & HASH_SOURCE) {
		sip_address(&s, &packet->source, &vserver->mask);
		length = 16;
	}
	if (fields & HASH_DESTINATION) {
		sip_address(&s, &packet->key.address, &vserver->mask);
		length += 16;
	}
	if (fields & HASH_SOURCE_PORT) {
		word = packet->source_port;
		length += 2;
	}
	return sip_slot(&s, word | length << 56);
}

static __always_inline __u32 ring_slot(const struct settings *settings, const struct vserver_value *vserver,
				       const struct packet *packet, int ipv4)
{
	if (ipv4)
		return ring_slot_ipv4(settings, vserver, packet->source.word[3], packet->key.address.word[3],
				      packet->source_port);
	return ring_slot_ipv6(settings, vserver, packet);
}

#endif
