/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/* From a frame to its destination, protocol and ports.
 *
 * parse_ipv4() and parse_ipv6() fill struct packet and return false only when not even the destination address can
 * be read. Whatever else is wrong sets PACKET_BROKEN; then protocol and ports are unknown. Common frames are read by
 * direct packet access; options, extension headers and split buffers by load_bytes(). */
#ifndef HALFPIPE_PARSE_H
#define HALFPIPE_PARSE_H

#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "context.h"
#include "types.h"

#define IPV4_FRAGMENT_OFFSET bpf_htons(0x1fff)
#define IPV4_MORE_FRAGMENTS bpf_htons(0x2000)
#define IPV6_FRAGMENT_OFFSET bpf_htons(0xfff8)
#define IPV6_MORE_FRAGMENTS bpf_htons(0x0001)
#define MAX_EXTENSION_HEADERS 6
#define IPV4_TTL 22
#define IPV6_HOP_LIMIT 21

#define TCP_FLAGS_OFFSET 13
#define TCP_FIN 0x01
#define TCP_SYN 0x02
#define TCP_RST 0x04
#define TCP_ACK 0x10

#ifndef IPPROTO_UDPLITE
#define IPPROTO_UDPLITE 136
#endif

enum packet_flag {
	PACKET_PORTS = 1 << 0,		/* source_port and key.port are the packet's */
	PACKET_FRAGMENT = 1 << 1,	/* any fragment, the first too */
	PACKET_LATER = 1 << 2,		/* fragment without the transport header */
	PACKET_BROKEN = 1 << 3,		/* headers contradict each other or end too early */
	PACKET_QUOTED = 1 << 4,		/* not on its way: an ICMP error is about it */
};

struct packet {
	struct vserver_key key;		/* destination, protocol, destination port or 0 */
	struct address source;
	__u32 transport;		/* offset of the transport header in the frame */
	__u32 end;			/* offset behind the IP packet, where link padding may begin */
	__u32 flags;			/* enum packet_flag */
	__u32 fragment_id;		/* network order; fragments only */
	__be16 source_port;
	__u8 tcp;			/* flags of the TCP header; 0 for others, for later fragments and quoted packets */
	__u8 zero;
};

static __always_inline void set_ipv4(struct address *address, __be32 ipv4)
{
	address->word[0] = 0;
	address->word[1] = 0;
	address->word[2] = bpf_htonl(0xffff);
	address->word[3] = ipv4;
}

static __always_inline void set_ipv6(struct address *address, const struct in6_addr *ipv6)
{
	address->word[0] = ipv6->in6_u.u6_addr32[0];
	address->word[1] = ipv6->in6_u.u6_addr32[1];
	address->word[2] = ipv6->in6_u.u6_addr32[2];
	address->word[3] = ipv6->in6_u.u6_addr32[3];
}

/* All of these begin with source and destination port, 2 bytes each (RFC 9293, 768, 4340, 9260, 3828). */
static __always_inline int protocol_has_ports(__u8 protocol)
{
	return protocol == IPPROTO_TCP || protocol == IPPROTO_UDP || protocol == IPPROTO_SCTP ||
	       protocol == IPPROTO_UDPLITE || protocol == IPPROTO_DCCP;
}

/* `direct` is where the transport header begins, if it can be read without a helper. */
static __always_inline void parse_tcp_flags(context_t *ctx, struct packet *packet, const void *direct)
{
	void *data_end = (void *)(long)ctx->data_end;

	if (packet->key.protocol != IPPROTO_TCP || packet->transport + TCP_FLAGS_OFFSET + 1 > packet->end)
		return;
	if (direct && direct + TCP_FLAGS_OFFSET + 1 <= data_end)
		packet->tcp = *((const __u8 *)direct + TCP_FLAGS_OFFSET);
	else if (load_bytes(ctx, packet->transport + TCP_FLAGS_OFFSET, &packet->tcp, 1))
		packet->tcp = 0;
}

static __always_inline void parse_ports(context_t *ctx, struct packet *packet)
{
	void *data_end = (void *)(long)ctx->data_end;
	void *data = (void *)(long)ctx->data;
	__be16 *direct = data + sizeof(struct ethhdr) + sizeof(struct iphdr);
	__be16 ports[2];

	if (packet->flags & PACKET_LATER || !protocol_has_ports(packet->key.protocol))
		return;
	if (packet->transport + sizeof(ports) > packet->end) {
		packet->flags |= PACKET_BROKEN;
		return;
	}
	if (packet->transport == sizeof(struct ethhdr) + sizeof(struct iphdr) && (void *)(direct + 2) <= data_end) {
		packet->source_port = direct[0];
		packet->key.port = direct[1];
		parse_tcp_flags(ctx, packet, direct);
	} else if (!load_bytes(ctx, packet->transport, ports, sizeof(ports))) {
		packet->source_port = ports[0];
		packet->key.port = ports[1];
		parse_tcp_flags(ctx, packet, 0);
	} else {
		packet->flags |= PACKET_BROKEN;
		return;
	}
	packet->flags |= PACKET_PORTS;
}

/* RFC 791. A length of zero is right only for aggregates beyond 64 KiB, which the kernel itself makes. */
static __always_inline int parse_ipv4(context_t *ctx, struct packet *packet)
{
	void *data, *data_end;
	__u32 header, total;
	struct iphdr *ip;

	packet->key.port = 0;
	packet->key.protocol = 0;
	packet->key.zero = 0;
	packet->source_port = 0;
	packet->tcp = 0;
	packet->zero = 0;
	packet->flags = 0;
	packet->transport = 0;
	packet->end = 0;
	packet->fragment_id = 0;
	if (!readable(ctx, sizeof(struct ethhdr) + sizeof(*ip)))
		return 0;
	data = (void *)(long)ctx->data;
	data_end = (void *)(long)ctx->data_end;
	ip = data + sizeof(struct ethhdr);
	if ((void *)(ip + 1) > data_end || ip->version != 4)
		return 0;
	set_ipv4(&packet->key.address, ip->daddr);
	set_ipv4(&packet->source, ip->saddr);

	header = ip->ihl * 4;
	total = bpf_ntohs(ip->tot_len);
	if (!total && segment_size(ctx))
		total = frame_length(ctx) - sizeof(struct ethhdr);
	if (header < sizeof(*ip) || total < header || sizeof(struct ethhdr) + total > frame_length(ctx)) {
		packet->flags = PACKET_BROKEN;
		return 1;
	}
	if (ip->frag_off & (IPV4_FRAGMENT_OFFSET | IPV4_MORE_FRAGMENTS)) {
		packet->flags |= PACKET_FRAGMENT;
		packet->fragment_id = ip->id;
		if (ip->frag_off & IPV4_FRAGMENT_OFFSET)
			packet->flags |= PACKET_LATER;
	}
	packet->key.protocol = ip->protocol;
	packet->transport = sizeof(struct ethhdr) + header;
	packet->end = sizeof(struct ethhdr) + total;
	parse_ports(ctx, packet);
	return 1;
}

/* Step over extension headers (RFC 8200, 4; AH: RFC 4302, 2.2). Leaves protocol and transport at what follows. */
static __always_inline void walk_extensions(context_t *ctx, struct packet *packet)
{
	struct {
		__u8 next;
		__u8 length;
		__be16 fragment;
	} extension;
	__u8 next = packet->key.protocol;
	__u32 offset = packet->transport;
	int i;

	for (i = 0; i <= MAX_EXTENSION_HEADERS; i++) {
		if (next != IPPROTO_HOPOPTS && next != IPPROTO_ROUTING && next != IPPROTO_DSTOPTS &&
		    next != IPPROTO_FRAGMENT && next != IPPROTO_AH) {
			packet->key.protocol = next;
			packet->transport = offset;
			return;
		}
		if (i == MAX_EXTENSION_HEADERS || load_bytes(ctx, offset, &extension, sizeof(extension)))
			break;
		if (next == IPPROTO_FRAGMENT) {
			if (load_bytes(ctx, offset + sizeof(extension), &packet->fragment_id, 4))
				break;
			offset += 8;
			/* RFC 6946: neither offset nor more-flag: a whole packet in a fragment header */
			if (extension.fragment & (IPV6_FRAGMENT_OFFSET | IPV6_MORE_FRAGMENTS))
				packet->flags |= PACKET_FRAGMENT;
			if (extension.fragment & IPV6_FRAGMENT_OFFSET) {
				packet->flags |= PACKET_LATER;
				packet->key.protocol = extension.next;
				packet->transport = offset;
				return;
			}
		} else if (next == IPPROTO_AH) {
			offset += (extension.length + 2) * 4;
		} else {
			offset += (extension.length + 1) * 8;
		}
		next = extension.next;
	}
	packet->key.protocol = 0;
	packet->flags |= PACKET_BROKEN;
}

/* ::ffff:a.b.c.d stands for an IPv4 address in the tables; on the wire it is nobody's (RFC 4291, 2.5.5.2). */
static __always_inline int is_mapped(const struct in6_addr *address)
{
	return !(address->in6_u.u6_addr32[0] | address->in6_u.u6_addr32[1]) &&
	       address->in6_u.u6_addr32[2] == bpf_htonl(0xffff);
}

/* RFC 8200. */
static __always_inline int parse_ipv6(context_t *ctx, struct packet *packet)
{
	__u32 header = sizeof(struct ethhdr) + sizeof(struct ipv6hdr), end;
	void *data, *data_end;
	struct ipv6hdr *ip;
	__be16 *direct;

	packet->key.port = 0;
	packet->key.zero = 0;
	packet->source_port = 0;
	packet->tcp = 0;
	packet->zero = 0;
	packet->flags = 0;
	packet->transport = header;
	packet->end = 0;
	packet->fragment_id = 0;
	if (!readable(ctx, header))
		return 0;
	data = (void *)(long)ctx->data;
	data_end = (void *)(long)ctx->data_end;
	ip = data + sizeof(struct ethhdr);
	if ((void *)(ip + 1) > data_end || ip->version != 6)
		return 0;
	if (is_mapped(&ip->daddr) || is_mapped(&ip->saddr))
		return 0;
	set_ipv6(&packet->key.address, &ip->daddr);
	set_ipv6(&packet->source, &ip->saddr);
	packet->key.protocol = ip->nexthdr;

	end = header + bpf_ntohs(ip->payload_len);
	if (end == header && segment_size(ctx))
		end = frame_length(ctx);
	if (end > frame_length(ctx)) {
		packet->flags = PACKET_BROKEN;
		return 1;
	}
	packet->end = end;
	direct = (void *)(ip + 1);
	if (protocol_has_ports(ip->nexthdr) && (void *)(direct + 2) <= data_end && header + 4 <= end) {
		packet->source_port = direct[0];
		packet->key.port = direct[1];
		packet->flags = PACKET_PORTS;
		parse_tcp_flags(ctx, packet, direct);
		return 1;
	}
	walk_extensions(ctx, packet);
	if (!(packet->flags & PACKET_BROKEN) && packet->transport > end)
		packet->flags |= PACKET_BROKEN;
	if (!(packet->flags & PACKET_BROKEN))
		parse_ports(ctx, packet);
	return 1;
}

#endif
