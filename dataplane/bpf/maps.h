/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/* The tables. All but counters, recents, flows, embryos, fragments, turns and
 * probe_flows are written by the control plane only. */
#ifndef HALFPIPE_MAPS_H
#define HALFPIPE_MAPS_H

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "types.h"

/* Hash key and probe device: one entry. Listeners set its byte `sampled` through memory, without touching the rest. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct settings);
} settings SEC(".maps");

/* Own MAC of each interface, by ifindex. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_INTERFACES);
	__type(key, __u32);
	__type(value, struct interface_value);
} interfaces SEC(".maps");

/* Virtual addresses. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_VIPS);
	__type(key, struct address);
	__type(value, struct vip_value);
} vips SEC(".maps");

/* Virtual servers by address, protocol and port. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_VSERVERS);
	__type(key, struct vserver_key);
	__type(value, struct vserver_value);
} vservers SEC(".maps");

/* Virtual servers with a range of ports, by address, protocol and range. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_VSERVERS);
	__type(key, struct range_key);
	__type(value, struct vserver_value);
} range_vservers SEC(".maps");

/* Ranges by address, protocol and the leading bits of a port. */
struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, MAX_PORT_PREFIXES);
	__type(key, struct port_prefix);
	__type(value, struct port_range);
} port_prefixes SEC(".maps");

/* Number of the present content of settings, interfaces, vips, policies and the three tables of vservers: one more with
 * each change of them. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} generation SEC(".maps");

/* What look-ups found, see find.h. Only the forwarder writes here. */
struct recent {
	struct vserver_key key;
	__u32 generation;
	struct vserver_value value;
	__u32 ifindex;			/* XDP saw a frame to own_mac, this interface's; 0: XDP did not look */
	__u32 settings;			/* flags */
	__u64 idle_timeout;		/* of the vserver's policy, ns */
	__u64 own_mac;			/* as mac_at() reads it */
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1 << RECENT_BITS);
	__type(key, __u32);
	__type(value, struct recent);
} recents SEC(".maps");

/* Rings by vserver_id. A ring is the one value of a map of its own: it is replaced as a whole, so no packet sees half a
 * change. Sizes instead of types: clang keeps only a forward declaration of what an inner map holds. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, MAX_VSERVERS);
	__type(key, __u32);
	__array(values, struct {
		__uint(type, BPF_MAP_TYPE_ARRAY);
		__uint(max_entries, 1);
		__uint(key_size, sizeof(__u32));
		__uint(value_size, sizeof(struct ring));
	});
} rings SEC(".maps");

/* Services by the index that ring slots hold. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MAX_SERVICES);
	__type(key, __u32);
	__type(value, struct service_value);
} services SEC(".maps");

/* More about vservers with flags, by vserver_id. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MAX_VSERVERS);
	__type(key, __u32);
	__type(value, struct policy);
} policies SEC(".maps");

/* Services that get no new flows. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, MAX_CLOSED);
	__type(key, struct closed_key);
	__type(value, struct closed_value);
} closed SEC(".maps");

/* The services of flows and of persistent sources, see flow.h. These four are the forwarder's own. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, MAX_FLOWS);
	__type(key, struct flow_key);
	__type(value, struct flow);
} flows SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, MAX_EMBRYOS);
	__type(key, struct flow_key);
	__type(value, struct flow);
} embryos SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, MAX_FRAGMENTS);
	__type(key, struct fragment_key);
	__type(value, struct flow);
} fragments SEC(".maps");

/* Token buckets of SYNs, by vserver_id and by source network. The forwarder's own. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MAX_VSERVERS);
	__type(key, __u32);
	__type(value, struct bucket);
} syn_vservers SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, MAX_SYN_SOURCES);
	__type(key, struct syn_source_key);
	__type(value, struct bucket);
} syn_sources SEC(".maps");

/* Frames dropped by vserver_id, where the vserver is known, and by reason. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, MAX_VSERVERS);
	__type(key, __u32);
	__type(value, struct vserver_drops);
} vserver_drops SEC(".maps");

/* The row of each vserver_id, for events. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MAX_VSERVERS);
	__type(key, __u32);
	__type(value, __u32);
} vserver_rows SEC(".maps");

/* What listeners want to be told; each writes its own entry, and settings.sampled. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MAX_SAMPLERS);
	__type(key, __u32);
	__type(value, struct sampling);
} sampling SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, MAX_SAMPLERS);
	__type(key, __u32);
	__type(value, struct sampled);
} sampled SEC(".maps");

/* Where a CPU puts an event together. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct event);
} event_in_hand SEC(".maps");

/* A ring buffer for each listener, which makes it when it begins: a ring buffer has one reader, and nobody listens
 * most of the time. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, MAX_SAMPLERS);
	__type(key, __u32);
	__array(values, struct {
		__uint(type, BPF_MAP_TYPE_RINGBUF);
		__uint(max_entries, EVENTS_SIZE);
	});
} events SEC(".maps");

/* The next slot in turn, by vserver_id. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, MAX_VSERVERS);
	__type(key, __u32);
	__type(value, __u32);
} turns SEC(".maps");

/* Probe address to VIP and server. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_PROBES);
	__type(key, struct address);
	__type(value, struct probe_out_value);
} probes_out SEC(".maps");

/* VIP and server's MAC to probe address. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_PROBES);
	__type(key, struct probe_in_key);
	__type(value, struct address);
} probes_in SEC(".maps");

/* Flows of probes. The forwarder's own. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, MAX_PROBE_FLOWS);
	__type(key, struct probe_flow_key);
	__type(value, struct address);
} probe_flows SEC(".maps");

/* Whose frames a capture listens to; it writes here itself, and what it forgets to take away ends in time. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct tap);
} taps SEC(".maps");

/* Forwarded frames by vserver_id. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, MAX_VSERVERS);
	__type(key, __u32);
	__type(value, struct counter);
} vserver_stats SEC(".maps");

/* Forwarded frames by service index. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, MAX_SERVICES);
	__type(key, __u32);
	__type(value, struct counter);
} service_stats SEC(".maps");

/* Flows that began, by vserver_id and by service index: see note_flow() in count.h. Apart from the counters of frames, as
 * few frames begin one. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, MAX_VSERVERS);
	__type(key, __u32);
	__type(value, __u64);
} vserver_begun SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, MAX_SERVICES);
	__type(key, __u32);
	__type(value, __u64);
} service_begun SEC(".maps");

/* Every frame seen, by enum reason. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, REASON_COUNT);
	__type(key, __u32);
	__type(value, struct counter);
} reasons SEC(".maps");

#endif
