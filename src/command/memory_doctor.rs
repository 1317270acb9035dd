//! MEMORY DOCTOR: what is unusual about the node's memory, in Redis's words.

use super::NodeState;
use super::memory::Overview;

/// With less than this in use nothing can be said.
const LITTLE_BYTES: u64 = 5 << 20;
const FRAGMENTED_BYTES: i64 = 10 << 20;
const REPLICA_BYTES: u64 = 10 << 20;
const CLIENT_BYTES: u64 = 200 << 10;

const LITTLE: &str = "Hi Sam, this instance is empty or is using very little memory, my issues detector can't be used in these conditions. Please, \
                      leave for your mission on Earth and fill it with some data. The new Sam and I will be back to our programming as soon as I \
                      finished rebooting.\n";
const HEALTHY: &str = "Hi Sam, I can't find any memory issue in your instance. I can only account for what occurs on this base.\n";
const PEAK: &str = " * Peak memory: In the past this instance used more than 150% the memory that is currently using. The allocator is normally not \
                    able to release memory after a peak, so you can expect to see a big fragmentation ratio, however this is actually harmless and is \
                    only due to the memory peak, and if the Redis instance Resident Set Size (RSS) is currently bigger than expected, the memory will be \
                    used as soon as you fill the Redis instance with more data. If the memory peak was only occasional and you want to try to reclaim \
                    memory, please try the MEMORY PURGE command, otherwise the only other option is to shutdown and restart the instance.\n\n";
const REPLICAS: &str = " * Big replica buffers: The replica output buffers in this instance are greater than 10MB for each replica (on average). This \
                        likely means that there is some replica instance that is struggling receiving data, either because it is too slow or because \
                        of networking issues. As a result, data piles on the master output buffers. Please try to identify what replica is not \
                        receiving data correctly and why. You can use the INFO output in order to check the replicas delays and the CLIENT LIST \
                        command to check the output buffers of each replica.\n\n";
const CLIENTS: &str = " * Big client buffers: The clients output buffers in this instance are greater than 200K per client (on average). This may result \
                       from different causes, like Pub/Sub clients subscribed to channels bot not receiving data fast enough, so that data piles on the \
                       Redis instance output buffer, or clients sending commands with large replies or very large sequences of commands in the same \
                       pipeline. Please use the CLIENT LIST command in order to investigate the issue if it causes problems in your instance, or to \
                       understand better why certain clients are using a big amount of memory.\n\n";

fn fragmented(allocator: &str) -> String {
    format!(
        " * High total RSS: This instance has a memory fragmentation and RSS overhead greater than 1.4 (this means that the Resident Set Size of the Redis \
         process is much larger than the sum of the logical allocations Redis performed). This problem is usually due either to a large peak memory (check \
         if there is a peak memory entry above in the report) or may result from a workload that causes the allocator to fragment memory a lot. If the \
         problem is a large peak memory, then there is no issue. Otherwise, make sure you are using the Jemalloc allocator and not the default libc malloc. \
         Note: The currently used allocator is \"{allocator}\".\n\n"
    )
}

pub(super) fn doctor(node: &NodeState, memory: &Overview) -> String {
    if memory.used < LITTLE_BYTES {
        return LITTLE.to_owned();
    }
    let replicas = node.clients.replicas().len() as u64;
    let others = node.clients.len() as u64 - replicas;
    let mut issues = Vec::new();
    if memory.peak as f64 / memory.used as f64 > 1.5 {
        issues.push(PEAK.to_owned());
    }
    if memory.fragmentation() > 1.4 && memory.fragmentation_bytes() > FRAGMENTED_BYTES {
        issues.push(fragmented(node.env.allocator.name()));
    }
    // What slaves have not been sent yet lies in the stream, not in buffers of theirs.
    if replicas > 0 && node.uncounted_memory() / replicas > REPLICA_BYTES {
        issues.push(REPLICAS.to_owned());
    }
    if others > 0 && memory.clients / others > CLIENT_BYTES {
        issues.push(CLIENTS.to_owned());
    }
    match issues.is_empty() {
        true => HEALTHY.to_owned(),
        false => {
            let issues = issues.concat();
            format!(
                "Sam, I detected a few issues in this Redis instance memory implants:\n\n{issues}I'm here to keep you safe, Sam. I want to help you.\n"
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Bench;
    use super::*;

    #[test]
    fn each_issue_has_its_paragraph() {
        let mut b = Bench::new();
        let mut memory = Overview::of(&mut b.node);
        assert_eq!(doctor(&b.node, &memory), LITTLE);
        (memory.used, memory.peak, memory.rss, memory.clients) = (100 << 20, 140 << 20, 120 << 20, 1000);
        assert_eq!(doctor(&b.node, &memory), HEALTHY);
        (memory.peak, memory.rss, memory.clients) = (151 << 20, 141 << 20, 1 << 20);
        let text = doctor(&b.node, &memory);
        assert!(text.contains(&format!("implants:\n\n{PEAK}{}{CLIENTS}I'm here to keep you safe", fragmented("libc"))), "{text}");
    }
}
