/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/* Choices that are remembered: flows of sessionful vservers, persistence, and the fragments of a packet.
 *
 * A new flow is remembered among the embryos, and moves to the flows with its second packet that is no SYN: a flood of
 * SYNs, from however many sources, pushes other embryos out and nothing else. What is remembered names the service by
 * index and by row, and counts only while both agree, so a used index that passes on takes no flow along. */
#ifndef HALFPIPE_FLOW_H
#define HALFPIPE_FLOW_H

#include "events.h"
#include "find.h"
#include "hash.h"
#include "maps.h"
#include "parse.h"
#include "syn.h"

#define EMBRYO_TIMEOUT (30 * SECOND)
#define CLOSING_TIMEOUT (30 * SECOND)	/* after FIN or RST; the client still acknowledges the server's FIN */
#define FRAGMENT_TIMEOUT (30 * SECOND)	/* net.ipv4.ipfrag_time */

/* What one choice needs, gathered: a function takes five arguments at most. */
struct chooser {
	const struct vserver_value *vserver;
	const struct policy *policy;	/* NULL: none, and no flag that needs one */
	__u64 now;
	__u32 tcp;			/* flags of the TCP header; 0 for others and for quoted packets */
};

static __always_inline int is_syn(const struct chooser *c)
{
	return (c->tcp & (TCP_SYN | TCP_ACK)) == TCP_SYN;
}

/* The flow's service if it still may be used. `lasting`: new flows too, as persistence needs, not only old ones. */
static __always_inline __u32 remembered_service(const struct flow *flow, const struct chooser *c, __u64 timeout,
						int lasting)
{
	struct closed_key key = {.vserver = c->vserver->config_id};
	struct closed_value *found;
	struct service_value *service;
	__u32 index = flow->service;

	if (flow->vserver != c->vserver->config_id || c->now - flow->seen > timeout)
		return 0;
	service = bpf_map_lookup_elem(&services, &index);
	if (!service || !service->config_id || service->config_id != flow->config_id)
		return 0;
	if (service->flags & SERVICE_CLOSED) {
		key.service = index;
		found = bpf_map_lookup_elem(&closed, &key);
		if (found && (lasting || found->state == CLOSED_FLUSH))
			return 0;
	}
	return index;
}

/* The service that was chosen for this key before, or 0. */
static __always_inline __u32 recall(const struct flow_key *key, const struct chooser *c, __u64 timeout, int lasting)
{
	struct flow *flow = bpf_map_lookup_elem(&flows, key), moved;
	__u32 index;

	if (flow && !(flow->closing && is_syn(c))) {
		index = remembered_service(flow, c, flow->closing ? CLOSING_TIMEOUT : timeout, lasting);
		if (index) {
			/* Writing seldom keeps the cache line shared between CPUs */
			if (c->now - flow->seen > SECOND)
				flow->seen = c->now;
			if (!lasting && c->tcp & (TCP_FIN | TCP_RST))
				flow->closing = 1;
			return index;
		}
	}
	flow = bpf_map_lookup_elem(&embryos, key);
	if (!flow)
		return 0;
	index = remembered_service(flow, c, EMBRYO_TIMEOUT, lasting);
	if (index && !is_syn(c)) {
		moved = *flow;
		moved.seen = c->now;
		moved.closing = !lasting && c->tcp & (TCP_FIN | TCP_RST);
		bpf_map_update_elem(&flows, key, &moved, BPF_ANY);
		bpf_map_delete_elem(&embryos, key);
	}
	return index;
}

static __always_inline void remember_choice(const struct flow_key *key, const struct chooser *c, __u32 index,
					    __u32 config_id)
{
	struct flow flow = {
		.seen = c->now, .service = index, .config_id = config_id, .vserver = c->vserver->config_id,
	};

	bpf_map_update_elem(&embryos, key, &flow, BPF_ANY);
}

/* The next slot in turn. Each CPU goes round by itself, and begins elsewhere. */
static __always_inline __u32 next_slot(__u32 vserver_id)
{
	__u32 *turn = bpf_map_lookup_elem(&turns, &vserver_id), slot;

	if (!turn)
		return 0;
	slot = *turn;
	*turn = slot + 1 < RING_SLOTS ? slot + 1 : 0;
	slot = slot + bpf_get_smp_processor_id() % 64 * (RING_SLOTS / 64);
	return slot < RING_SLOTS ? slot : slot - RING_SLOTS;
}

static __always_inline void fragment_key(const struct packet *packet, int ipv4, struct fragment_key *key)
{
	key->source = packet->source;
	key->destination = packet->key.address;
	key->id = packet->fragment_id;
	/* RFC 791 tells packets apart by protocol too; RFC 8200, 4.5 does not */
	key->protocol = ipv4 ? packet->key.protocol : 0;
}

/* Not inlined, and called when choose() is done: both together would not fit the stack. */
static __noinline int remember_fragment(const struct packet *packet, __u32 vserver_id, __u32 index, int ipv4)
{
	struct service_value *service = bpf_map_lookup_elem(&services, &index);
	struct flow flow = {.seen = bpf_ktime_get_coarse_ns(), .service = index, .vserver = vserver_id};
	struct fragment_key key = {};

	if (!service)
		return 0;
	flow.config_id = service->config_id;
	fragment_key(packet, ipv4, &key);
	return bpf_map_update_elem(&fragments, &key, &flow, BPF_ANY);
}

/* Where the first fragment of this packet went: 1 and the ids, or 0. */
static __always_inline int recall_fragment(const struct packet *packet, int ipv4, __u32 *vserver_id, __u32 *index)
{
	struct service_value *service;
	struct fragment_key key = {};
	struct flow *flow;

	fragment_key(packet, ipv4, &key);
	flow = bpf_map_lookup_elem(&fragments, &key);
	if (!flow || bpf_ktime_get_coarse_ns() - flow->seen > FRAGMENT_TIMEOUT)
		return 0;
	*vserver_id = flow->vserver;
	*index = flow->service;
	service = bpf_map_lookup_elem(&services, index);
	return service && service->config_id && service->config_id == flow->config_id;
}

/* Does the choice depend on what a later fragment does not have? */
static __always_inline int needs_first_fragment(const struct vserver_value *vserver)
{
	return vserver->hash_fields & HASH_SOURCE_PORT || vserver->flags & (VSERVER_SESSIONS | VSERVER_ROTATE);
}

/* Service index, or the negative of the reason why there is none. With CHOSEN_NEW or CHOSEN_OLD. */
static __always_inline __s32 choose(const struct packet *packet, const struct vserver_value *vserver,
				    const struct ring *ring, int ipv4)
{
	struct chooser c = {.vserver = vserver, .now = bpf_ktime_get_coarse_ns(), .tcp = packet->tcp};
	__u32 zero = 0, id = vserver->vserver_id, flags = vserver->flags, index = 0, slot;
	__u8 family = ipv4 ? 0 : FLOW_IPV6;
	struct flow_key session = {}, persistence = {};
	struct service_value *service;
	struct settings *setting;
	int hashed, persisted = 0;

	if (flags) {
		c.policy = bpf_map_lookup_elem(&policies, &id);
		if (!c.policy || !c.policy->config_id)
			return -REASON_DROP_TABLE;
	}
	if (flags & VSERVER_SYN_LIMIT && is_syn(&c)) {
		enum reason refused = limit_syn(packet, vserver, c.policy);

		if (refused)
			return -refused;
	}
	setting = bpf_map_lookup_elem(&settings, &zero);
	if (!setting)
		return -REASON_DROP_TABLE;
	if (flags & VSERVER_SESSIONS) {
		session.addresses = address_pair(setting, &packet->source, &packet->key.address, ipv4);
		session.kind = family;
		session.source_port = packet->source_port;
		session.port = packet->key.port;
		session.protocol = packet->key.protocol;
		index = recall(&session, &c, c.policy->idle_timeout * SECOND, 0);
		if (index)
			return index | CHOSEN_OLD;
	}
	if (flags & VSERVER_PERSIST) {
		struct address source = packet->source, row = {{0, 0, 0, vserver->config_id}};

		source.word[0] &= c.policy->persist_mask.word[0];
		source.word[1] &= c.policy->persist_mask.word[1];
		source.word[2] &= c.policy->persist_mask.word[2];
		source.word[3] &= c.policy->persist_mask.word[3];
		persistence.addresses = address_pair(setting, &source, &row, ipv4);
		persistence.kind = FLOW_PERSISTENCE | family;
		index = recall(&persistence, &c, c.policy->persist_timeout * SECOND, 1);
		persisted = index != 0;
	}
	if (!index) {
		/* A connection that nobody here saw begin: another director with these tables may hash it the same */
		hashed = !(flags & VSERVER_ROTATE) || packet->flags & PACKET_QUOTED ||
			 (flags & VSERVER_SESSIONS && packet->key.protocol == IPPROTO_TCP && !is_syn(&c));
		slot = hashed ? ring_slot(setting, vserver, packet, ipv4) : next_slot(id);
		asm volatile("" : "+r"(slot));
		if (slot >= RING_SLOTS)
			return -REASON_DROP_TABLE;
		index = ring->slot[slot];
		if (!index)
			return -REASON_DROP_NO_SERVICE;
	}
	if (packet->flags & PACKET_QUOTED)
		return index;
	service = bpf_map_lookup_elem(&services, &index);
	if (!service)
		return -REASON_DROP_TABLE;
	if (flags & VSERVER_SESSIONS)
		remember_choice(&session, &c, index, service->config_id);
	if (flags & VSERVER_PERSIST && !persisted)
		remember_choice(&persistence, &c, index, service->config_id);
	return flags & VSERVER_SESSIONS ? index | CHOSEN_NEW : index;
}

/* Global functions: the verifier looks at them once and by themselves, not anew for each state that a call is made in.
 * Their pointers may be anything then, so that they must be tested, and all they point to must have been written. */
__noinline __s32 choose_ipv4(const struct packet *packet, const struct vserver_value *vserver, const struct ring *ring)
{
	return packet && vserver && ring ? choose(packet, vserver, ring, 1) : -REASON_DROP_TABLE;
}

__noinline __s32 choose_ipv6(const struct packet *packet, const struct vserver_value *vserver, const struct ring *ring)
{
	return packet && vserver && ring ? choose(packet, vserver, ring, 0) : -REASON_DROP_TABLE;
}

#endif
