/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/* A VLAN interface for kernels that are built without any: one end of a veth pair carries its frames without tag, the
 * other end, UPPER, passes them to and from the trunk LOWER. VID, UPPER (ifindex) and LOWER come from the command line. */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

SEC("tc/pop")
int pop(struct __sk_buff *skb)
{
	if (!skb->vlan_present || (skb->vlan_tci & 0xfff) != VID)
		return TC_ACT_UNSPEC;
	if (bpf_skb_vlan_pop(skb))
		return TC_ACT_SHOT;
	return bpf_redirect(UPPER, 0);
}

SEC("tc/push")
int push(struct __sk_buff *skb)
{
	if (bpf_skb_vlan_push(skb, bpf_htons(ETH_P_8021Q), VID))
		return TC_ACT_SHOT;
	return bpf_redirect(LOWER, 0);
}

char _license[] SEC("license") = "Dual MIT/GPL";
