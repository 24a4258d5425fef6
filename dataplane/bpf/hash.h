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

static __always_inline __u32 ring_slot(const struct settings *settings, const struct vserver_value *vserver,
				       const struct packet *packet, int ipv4)
{
	__u64 key0 = settings->hash_key[0], key1 = settings->hash_key[1], word = 0, length = 0;
	__u32 fields = vserver->hash_fields;
	struct sip s = {
		.v0 = key0 ^ 0x736f6d6570736575ULL,
		.v1 = key1 ^ 0x646f72616e646f6dULL,
		.v2 = key0 ^ 0x6c7967656e657261ULL,
		.v3 = key1 ^ 0x7465646279746573ULL,
	};

	/* `word` gathers what is left of a last, partial word. */
	if (ipv4) {
		__u32 mask = vserver->mask.word[3];

		if (fields & HASH_SOURCE) {
			word = packet->source.word[3] & mask;
			length = 4;
		}
		if (fields & HASH_DESTINATION) {
			__u64 destination = packet->key.address.word[3] & mask;

			if (length) {
				sip_word(&s, word | destination << 32);
				word = 0;
			} else {
				word = destination;
			}
			length += 4;
		}
	} else {
		if (fields & HASH_SOURCE) {
			sip_address(&s, &packet->source, &vserver->mask);
			length = 16;
		}
		if (fields & HASH_DESTINATION) {
			sip_address(&s, &packet->key.address, &vserver->mask);
			length += 16;
		}
	}
	if (fields & HASH_SOURCE_PORT) {
		word |= (__u64)packet->source_port << (length & 4) * 8;
		length += 2;
	}
	sip_word(&s, word | length << 56);
	s.v2 ^= 0xff;
	sip_round(&s);
	sip_round(&s);
	sip_round(&s);
	/* Scale the upper half to the ring: no division, and uniform to within 2^-18 */
	return ((__u64)(__u32)((s.v0 ^ s.v1 ^ s.v2 ^ s.v3) >> 32) * RING_SLOTS) >> 32;
}

#endif
