/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/* Keys and values of the tables. dataplane/layout.py packs the same bytes; a test compares both by BTF.
 * Addresses are 16 bytes in network order, IPv4 as ::ffff:a.b.c.d; ports are in network order. */
#ifndef HALFPIPE_TYPES_H
#define HALFPIPE_TYPES_H

#include <linux/types.h>

#include "limits.h"

struct address {
	__u32 word[4];			/* network order */
};

/* vips: is this address one of ours, and which vserver look-ups can match it? */
enum vip_flag {
	VIP_PROTO_PORT = 1 << 0,	/* some vserver has this protocol and a port */
	VIP_PROTO = 1 << 1,		/* some vserver has a protocol and any port */
	VIP_PORT = 1 << 2,		/* some vserver has protocol ANY and a port */
	VIP_ANY = 1 << 3,		/* some vserver has protocol ANY and any port */
	VIP_PROTO_RANGE = 1 << 4,	/* some vserver has this protocol and a range of ports */
	VIP_RANGE = 1 << 5,		/* some vserver has protocol ANY and a range of ports */
	VIP_ANSWER = 1 << 8,		/* answer ARP and neighbour solicitation */
	VIP_PING_ANSWER = 1 << 9,	/* answer pings; goes before the next */
	VIP_PING_DROP = 1 << 10,	/* drop pings; with neither, look them up like any packet */
};

#define VIP_BY_PORT (VIP_PROTO_PORT | VIP_PORT | VIP_PROTO_RANGE | VIP_RANGE)

struct vip_value {
	enum vip_flag flags;
};

/* vservers: precedence is (protocol, port), (protocol, range), (protocol, 0), (0, port), (0, range), (0, 0). Of several
 * ranges that a port is in, the narrowest goes first; of equally wide ones that which begins lower. */
struct vserver_key {
	struct address address;
	__be16 port;			/* 0: any port */
	__u8 protocol;			/* IPPROTO_*, 0: ANY */
	__u8 zero;
};

/* range_vservers: those with a range of ports. */
struct range_key {
	struct address address;
	__be16 port;			/* first */
	__be16 port_end;		/* last */
	__u8 protocol;			/* IPPROTO_*, 0: ANY */
	__u8 zero[3];
};

/* port_prefixes: which range a port belongs to. The leading bits of a port stand for the ports that begin with them;
 * no port of a VIP and protocol is in two prefixes. */
struct port_prefix {
	__u32 length;			/* bits that count of all that follows: PORT_PREFIX_BITS and those of the port */
	struct address address;
	__u8 zero;
	__u8 protocol;			/* IPPROTO_*, 0: ANY */
	__be16 port;
};

#define PORT_PREFIX_BITS 144		/* of a port_prefix before the port */

struct port_range {
	__be16 port;			/* as in range_key */
	__be16 port_end;
};

enum hash_field {
	HASH_SOURCE = 1 << 0,
	HASH_DESTINATION = 1 << 1,
	HASH_SOURCE_PORT = 1 << 2,
};

/* Without any, the service follows from the packet alone. With any, policies has an entry. */
enum vserver_flag {
	VSERVER_SESSIONS = 1 << 0,	/* a flow keeps its service, see flow.h */
	VSERVER_ROTATE = 1 << 1,	/* new flows, or packets if there are no sessions, take the ring's slots in turn */
	VSERVER_PERSIST = 1 << 2,	/* a source keeps its service for new flows */
	VSERVER_SYN_LIMIT = 1 << 3,	/* SYNs pass by token buckets, see syn.h */
};

struct vserver_value {
	__u32 vserver_id;		/* index into rings and vserver_stats, 1 .. MAX_VSERVERS-1 */
	__u32 config_id;		/* the row it was compiled from */
	enum hash_field hash_fields;
	enum vserver_flag flags;
	struct address mask;		/* ANDed to hashed addresses; IPv4 uses word[3] only */
};

/* The only value of a ring: a service index for each slot, 0 for "no service". */
struct ring {
	__u16 slot[RING_SLOTS];
};

enum service_flag {
	SERVICE_CLOSED = 1 << 0,	/* closed has entries for it */
};

struct service_value {
	__u32 config_id;		/* the row it was compiled from; 0: entry unused */
	__u32 ifindex;			/* egress interface */
	__u8 mac[6];			/* destination: the server's */
	__u8 source_mac[6];		/* source: the egress interface's own */
	enum service_flag flags;
};

enum when_down {
	WHEN_DOWN_DROP = 0,
	WHEN_DOWN_REJECT = 1,		/* clients are told, see reject.h */
};

/* policies: what only vservers with flags need, or those that reject, by vserver_id. Times in seconds. */
struct policy {
	__u32 config_id;		/* the vserver's row; 0: entry unused */
	__u32 idle_timeout;		/* a flow ends that long after its last packet */
	__u32 persist_timeout;
	enum when_down when_down;	/* what becomes of packets while no service can take them */
	struct address persist_mask;	/* ANDed to the source; all ones outside an IPv4 address */
	__u32 syn_rate;			/* SYNs a second; 0: no limit */
	__u32 syn_burst;		/* SYNs beyond the rate that pass at once, at least 1 */
	__u32 source_syn_rate;		/* the same for each source network */
	__u32 source_syn_burst;
	struct address source_mask;	/* as persist_mask: what a source network is */
};

/* syn_sources: the bucket of a source network at a vserver. */
struct syn_source_key {
	struct address source;
	__u32 vserver;			/* row */
	__u32 zero;
};

/* A token bucket as the time when it will be full again, in ns of CLOCK_MONOTONIC. */
struct bucket {
	__u64 full;
};

/* closed: a service that a vserver does not choose any more, and what becomes of the flows it has there. */
struct closed_key {
	__u32 vserver;			/* row */
	__u32 service;			/* index */
};

enum closed_state {
	CLOSED_DRAIN = 1,		/* they go on until they end */
	CLOSED_FLUSH = 2,		/* they get another service at once */
};

struct closed_value {
	enum closed_state state;
};

/* flows and embryos: the service of a flow, or of a source. */
enum flow_kind {
	FLOW_PERSISTENCE = 1 << 0,	/* of a source, masked, with the vserver's row for destination and no ports */
	FLOW_IPV6 = 1 << 1,
};

/* A short key is found in half the time of one that holds two IPv6 addresses. IPv4: source, then destination. IPv6: the
 * SipHash of both under the installation's key: two of n pairs meet by chance once in 2^65 / n^2, and not on purpose. */
struct flow_key {
	__u64 addresses;
	__be16 source_port;
	__be16 port;
	__u8 protocol;
	__u8 kind;			/* enum flow_kind */
	__u16 zero;
};

struct flow {
	__u64 seen;			/* CLOCK_MONOTONIC in ns, to the second */
	__u32 service;			/* index */
	__u32 config_id;		/* the service's row */
	__u32 vserver;			/* its row; of a fragment: its vserver_id */
	__u32 closing;			/* FIN or RST seen */
};

/* fragments: where the first fragment of a packet went. */
struct fragment_key {
	struct address source;
	struct address destination;
	__u32 id;
	__u32 protocol;
};

/* probes_out: probe address -> the VIP on one server. */
struct probe_out_value {
	struct address vip;
	__u32 ifindex;
	__u8 mac[6];
	__u8 source_mac[6];
};

/* probes_in: a frame from this VIP and this MAC answers a probe sent to the value. */
struct probe_in_key {
	struct address vip;
	__u8 mac[6];
	__u8 zero[2];
};

/* probe_flows: what the probe address of an answer is where (VIP, MAC) has several, see probe.h. */
enum probe_flow_kind {
	PROBE_FLOW = 0,			/* id: the director's port and the server's, or identifier of an echo and 0 */
	PROBE_FRAGMENT = 1,		/* id: the fragment's */
};

struct probe_flow_key {
	struct address vip;
	struct address director;	/* address the probe left from */
	__u32 id;
	__u8 mac[6];
	__u8 protocol;
	__u8 kind;			/* enum probe_flow_kind */
};

/* interfaces: ifindex -> its own MAC, the answer to a broadcast ARP request or a neighbour solicitation. */
struct interface_value {
	__u8 mac[6];
	__u8 zero[2];
};

/* settings: one entry. */
enum setting_flag {
	SETTING_TTL = 1 << 0,		/* drop packets whose TTL or hop limit is 1 or 0 instead of forwarding them */
};

struct settings {
	__u64 hash_key[2];		/* SipHash key of the installation: bytes 0-7 and 8-15, little endian */
	__u32 probe_ifindex;		/* where answers to probes are delivered; 0: no probing */
	__u8 probe_mac[6];
	__u8 sampled;			/* not 0: somebody may listen to samples, see events.h */
	__u8 zero;
	enum setting_flag flags;
};

/* taps: one entry. Frames that XDP would forward are heard by no packet socket; these are left to tc. */
struct tap {
	__u64 until;			/* CLOCK_MONOTONIC, ns; 0: nobody listens */
	__u32 vserver;			/* row; 0: all */
	__u32 zero;
};

/* sampling: what each listener wants to be told of single frames. Zeros: nothing. */
enum sample_kind {
	SAMPLE_DROP = 1 << 0,		/* a frame that was dropped */
	SAMPLE_FLOW = 1 << 1,		/* the first packet of a flow; without sessions: a SYN */
	SAMPLE_FORWARDED = 1 << 2,	/* any other that was forwarded, one in so many */
};

struct sampling {
	__u64 until;			/* CLOCK_MONOTONIC, ns: it ends by itself if the listener does not renew it */
	struct address vip;		/* with vserver: packets to this address whose vserver is unknown, too */
	__u32 vserver;			/* row; 0: all */
	enum sample_kind kinds;
	__u32 one_in;			/* of SAMPLE_FORWARDED, at random; 0 counts as 1 */
	__u32 rate;			/* events a second of each CPU; 0: none */
	__u32 burst;			/* events that may come at once, at least 1 */
	__u32 caught;			/* bytes of the frame to keep, up to EVENT_FRAME */
};

/* sampled: what became of one listener's samples on one CPU. */
struct sampled {
	__u64 full;			/* token bucket, as struct bucket */
	__u64 told;
	__u64 withheld;			/* over the rate, or the ring buffer was full */
};

/* events: what a listener reads. The frame is as it came if dropped, as it left if forwarded. */
struct event {
	__u64 time;			/* CLOCK_MONOTONIC, ns */
	struct address source;
	struct address destination;
	__be16 source_port;		/* 0 if the packet has none */
	__be16 port;
	__u8 protocol;
	__u8 kind;			/* one of enum sample_kind */
	__u8 flags;			/* enum packet_flag */
	__u8 tcp_flags;			/* of the TCP header, else 0 */
	__u32 reason;			/* enum reason */
	__u32 ifindex;			/* where it arrived; of a probe: the probe device */
	__u32 vserver;			/* row, 0: unknown */
	__u32 service;			/* row, 0: none was chosen */
	__u32 length;			/* of the whole frame, without FCS */
	__u32 caught;			/* bytes of it that follow; what is behind them means nothing */
	__u8 frame[EVENT_FRAME];
	__u8 arrived[12];		/* MAC addresses that it came with, destination first: all that forwarding changes */
	__u32 zero;
};

struct counter {
	__u64 packets;
	__u64 bytes;			/* whole frames, with the Ethernet header, without FCS */
};

/* Every exit of the programs has one of these names; reasons counts them per CPU. The verdict follows from the
 * range: up to REASON_REJECTED_ICMP redirected, PASS_* left to later filters and the stack, DROP_* dropped. */
enum reason {
	REASON_FORWARDED = 0,
	REASON_ARP_ANSWERED,
	REASON_ND_ANSWERED,
	REASON_PROBE_SENT,
	REASON_PROBE_ANSWERED,
	REASON_PING_ANSWERED,
	REASON_REJECTED_RST,		/* all services of the vserver are down: told by a TCP reset */
	REASON_REJECTED_ICMP,		/* the same for what is not TCP, told by ICMP or ICMPv6 */
	REASON_PASS_NOT_IP,		/* neither ARP, IPv4 nor IPv6 */
	REASON_PASS_NOT_VIP,
	REASON_PASS_NOT_TO_US,		/* broadcast, multicast or another host's frame */
	REASON_PASS_VLAN,		/* tagged frame: its VLAN interface sees to it */
	REASON_PASS_MALFORMED,		/* too short or inconsistent to know its destination */
	REASON_DROP_MALFORMED,		/* for a VIP, but its headers end too early */
	REASON_DROP_NO_VSERVER,		/* for a VIP, but no vserver has this protocol and port */
	REASON_DROP_NO_SERVICE,		/* the vserver's ring has no service: all are down */
	REASON_DROP_FRAGMENT,		/* later fragment without ports, and only ports would decide */
	REASON_DROP_OWN_MAC,		/* would go back to the director itself */
	REASON_DROP_PROBE_UNMAPPED,	/* probe address that stands for no server */
	REASON_DROP_TABLE,		/* table entry missing: a fault of ours */
	REASON_DROP_PING,		/* a ping that the VIP does not answer, or that cannot be answered */
	REASON_DROP_QUOTATION,		/* an ICMP error about no packet that a server could have sent from this VIP */
	REASON_DROP_LOOP,		/* came from the MAC that it would be sent to, or from one of our own */
	REASON_DROP_TTL,		/* TTL or hop limit used up, and the settings ask for that rule */
	REASON_DROP_SYN_RATE,		/* more SYNs than the vserver takes */
	REASON_DROP_SYN_SOURCE,		/* more SYNs from one network than the vserver takes */
	REASON_COUNT,
};

/* vserver_drops: frames that a vserver's clients sent in vain, for each DROP_* in order. */
#define DROP_REASONS (REASON_COUNT - REASON_DROP_MALFORMED)

struct vserver_drops {
	__u64 packets[DROP_REASONS];
};

#endif
