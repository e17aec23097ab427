//! Docker Swarm: three isolated hosts on one network.

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::{Arc, RwLock};

use libtest_mimic::Arguments;

use crate::command::{self, wait_until};
use crate::docker;
use crate::dockerd::{BUSYBOX, Dockerd};
use crate::environment::{self, Runtime};
use crate::feature::{self, Feature};

/// A test's name and its function.
type Test = (&'static str, fn(&Cluster));

fn all() -> Vec<Test> {
    vec![
        ("spread_and_scaled", spread_and_scaled),
        ("rolling_update", rolling_update),
        ("secret", secret),
        ("overlay_network", overlay_network),
        ("task_that_fails", task_that_fails),
        ("node_lost", node_lost),
    ]
}

/// The nodes of one runtime. The first is the manager.
struct Cluster {
    nodes: [Dockerd; 3],
    /// Held for writing while one of the nodes is down, and for reading by the other tests.
    all_nodes_up: RwLock<()>,
}

/// The clusters of both runtimes, until it is dropped.
#[derive(Clone)]
pub(crate) struct Swarm {
    clusters: Option<Arc<[Cluster; 2]>>,
    skip_reason: Option<String>,
}

impl Swarm {
    /// Starts the clusters if the arguments select a test of Swarm.
    pub(crate) fn start(arguments: &Arguments) -> Swarm {
        let skip_reason =
            feature::skip_reason().or_else(|| environment::missing_program(docker::PROGRAMS));
        let names: Vec<&str> = all().iter().map(|test| test.0).collect();
        if skip_reason.is_some() || !feature::is_wanted(arguments, "swarm", &names) {
            return Swarm {
                clusters: None,
                skip_reason,
            };
        }
        let clusters = Some(Arc::new(Runtime::BOTH.map(Cluster::start)));
        Swarm {
            clusters,
            skip_reason,
        }
    }

    pub(crate) fn features(&self) -> Vec<Feature> {
        let features = all().into_iter().map(|(name, test)| {
            let swarm = self.clone();
            Feature {
                name: format!("swarm::{name}"),
                run: Box::new(move |runtime| {
                    let clusters = swarm.clusters.as_ref().unwrap();
                    test(&clusters[usize::from(runtime == Runtime::Runc)]);
                }),
                skip_reason: self.skip_reason.clone(),
            }
        });
        features.collect()
    }
}

impl Cluster {
    fn start(runtime: Runtime) -> Cluster {
        let nodes = ["node1", "node2", "node3"].map(|name| Dockerd::start(name, runtime, &[]));
        connect(&nodes);
        for node in &nodes {
            node.load_images();
        }
        let [manager, workers @ ..] = &nodes;
        manager
            .docker(&["swarm", "init", "--advertise-addr", "10.77.0.1"])
            .ok();
        let token = manager
            .docker(&["swarm", "join-token", "-q", "worker"])
            .ok();
        for worker in workers {
            worker
                .docker(&["swarm", "join", "--token", &token, "10.77.0.1:2377"])
                .ok();
        }
        Cluster {
            nodes,
            all_nodes_up: RwLock::new(()),
        }
    }

    fn manager(&self) -> &Dockerd {
        &self.nodes[0]
    }

    /// Creates a service of the busybox image. Dropping the value removes the service.
    #[track_caller]
    fn service(&self, name: &'static str, options: &str, command: &[&str]) -> Service<'_> {
        let mut client = self.manager().client();
        client.args([
            "service",
            "create",
            "-d",
            "--no-resolve-image",
            "--endpoint-mode",
            "dnsrr",
        ]);
        client
            .args(["--name", name])
            .args(options.split_whitespace());
        command::run(client.arg(BUSYBOX).args(command)).ok();
        Service {
            cluster: self,
            name,
        }
    }
}

/// Connects the hosts by a bridge on the first host.
fn connect(nodes: &[Dockerd; 3]) {
    let [manager, workers @ ..] = nodes;
    manager.host.sh(
        "ip link add lan type bridge && ip addr add 10.77.0.1/24 dev lan && ip link set lan up",
    );
    for (number, worker) in (2..).zip(workers) {
        let mut link = Command::new("nsenter");
        link.args([
            "--target",
            manager.host.init(),
            "--net",
            "ip",
            "link",
            "add",
        ]);
        link.args([
            &format!("lan{number}"),
            "type",
            "veth",
            "peer",
            "name",
            "lan",
        ]);
        command::run(link.args(["netns", worker.host.init()])).ok();
        manager
            .host
            .sh(&format!("ip link set lan{number} master lan up"));
        worker.host.sh(&format!(
            "ip addr add 10.77.0.{number}/24 dev lan && ip link set lan up"
        ));
    }
}

struct Service<'a> {
    cluster: &'a Cluster,
    name: &'static str,
}

impl Service<'_> {
    /// `docker service VERB ARGS NAME`.
    #[track_caller]
    fn call(&self, verb: &str, args: &[&str]) -> String {
        let mut client = self.cluster.manager().client();
        client.args(["service", verb]).args(args);
        command::run(client.arg(self.name)).ok()
    }

    /// The number of running tasks on each node.
    fn tasks(&self) -> BTreeMap<String, usize> {
        let format = "{{.Node}} {{.CurrentState}}";
        let output = self.call(
            "ps",
            &["--filter", "desired-state=running", "--format", format],
        );
        let mut tasks = BTreeMap::new();
        for line in output.lines() {
            if let Some((node, state)) = line.split_once(' ')
                && state.starts_with("Running")
            {
                *tasks.entry(node.to_owned()).or_default() += 1;
            }
        }
        tasks
    }

    /// Waits until the manager reports `count` running tasks and the nodes have as many containers.
    #[track_caller]
    fn waits_for(&self, replicas: usize) {
        let what = format!("{replicas} tasks of {}: {:?}", self.name, self.tasks());
        wait_until(&what, 100, || {
            std::thread::sleep(std::time::Duration::from_millis(300));
            self.tasks().values().sum::<usize>() == replicas
        });
        wait_until(&what, 20, || self.containers().len() == replicas);
    }

    /// The running containers, each with its node.
    fn containers(&self) -> Vec<(&Dockerd, String)> {
        let label = format!("label=com.docker.swarm.service.name={}", self.name);
        let nodes = self.cluster.nodes.iter().flat_map(|node| {
            let output = node.docker(&["ps", "-q", "--filter", &label]).stdout;
            let ids: Vec<_> = output.lines().map(|id| (node, id.to_owned())).collect();
            ids
        });
        nodes.collect()
    }

    /// The output of a shell script in each container.
    #[track_caller]
    fn sh(&self, script: &str) -> Vec<String> {
        let all = self.containers();
        let each = all
            .iter()
            .map(|(node, id)| node.docker(&["exec", id, "sh", "-c", script]).ok());
        each.collect()
    }
}

impl Drop for Service<'_> {
    fn drop(&mut self) {
        self.cluster.manager().docker(&["service", "rm", self.name]);
    }
}

const SLEEPS: &[&str] = &["sleep", "1000"];

/// The options and the command of a service whose tasks end at once on SIGTERM.
const QUICK: &str = "--init --stop-grace-period 1s";

fn spread_and_scaled(cluster: &Cluster) {
    let _guard = cluster.all_nodes_up.read();
    let service = cluster.service(
        "spread",
        &format!("{QUICK} --replicas 12 --limit-memory 32m"),
        SLEEPS,
    );
    service.waits_for(12);
    let tasks = service.tasks();
    assert!(
        tasks.len() == 3 && tasks.values().all(|&tasks| tasks >= 2),
        "{tasks:?}"
    );
    let limit = "cat /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null || cat /sys/fs/cgroup/memory.max";
    assert!(service.sh(limit).iter().all(|limit| limit == "33554432"));
    service.call("update", &["-d", "--replicas", "30"]);
    service.waits_for(30);
    service.call("update", &["-d", "--replicas", "3"]);
    service.waits_for(3);
}

fn rolling_update(cluster: &Cluster) {
    let _guard = cluster.all_nodes_up.read();
    let options = format!(
        "{QUICK} --replicas 6 --env WORD=first --update-parallelism 2 --update-monitor 1s --update-order start-first"
    );
    let service = cluster.service("rolling", &options, SLEEPS);
    service.waits_for(6);
    service.call("update", &["-d", "--env-add", "WORD=second"]);
    wait_until("the update is completed", 100, || {
        service.call("inspect", &["--format", "{{.UpdateStatus.State}}"]) == "completed"
    });
    service.waits_for(6);
    assert_eq!(service.sh("echo $WORD"), ["second"; 6]);
}

fn secret(cluster: &Cluster) {
    let _guard = cluster.all_nodes_up.read();
    let manager = cluster.manager();
    let mut client = manager.client();
    command::run_with(client.args(["secret", "create", "word", "-"]), b"hidden").ok();
    let mut client = manager.client();
    command::run_with(client.args(["config", "create", "plan", "-"]), b"open").ok();
    let options = format!(
        "{QUICK} --replicas 2 --secret word --config source=plan,target=/etc/plan,mode=0440"
    );
    let service = cluster.service("secret", &options, SLEEPS);
    service.waits_for(2);
    let output = service.sh("cat /run/secrets/word; echo; cat /etc/plan; stat -c ' %a' /etc/plan; grep -c ' /run/secrets/word tmpfs ro' /proc/mounts");
    assert_eq!(output, ["hidden\nopen 440\n1"; 2]);
    drop(service);
}

/// Tasks on different nodes reach each other by the name of their service.
fn overlay_network(cluster: &Cluster) {
    let _guard = cluster.all_nodes_up.read();
    cluster
        .manager()
        .docker(&["network", "create", "-d", "overlay", "wide"])
        .ok();
    let serves = [
        "sh",
        "-c",
        "hostname > /var/www/index.html; exec httpd -f -p 80 -h /var/www",
    ];
    let server = cluster.service(
        "server",
        &format!("{QUICK} --mode global --network wide"),
        &serves,
    );
    let client = cluster.service(
        "client",
        &format!("{QUICK} --mode global --network wide"),
        SLEEPS,
    );
    server.waits_for(3);
    client.waits_for(3);
    let hosts = server.sh("hostname");
    // The nodes exchange the names of services asynchronously.
    wait_until("each task reaches all others", 60, || {
        let script = "for a in $(getent ahostsv4 server | grep STREAM | cut -d' ' -f1); do \
             timeout 3 wget -q -O - http://$a/; done; true";
        let pages = client.sh(script);
        pages
            .iter()
            .all(|page| hosts.iter().all(|host| page.contains(host.as_str())))
    });
    drop((server, client));
    wait_until("the network goes", 30, || {
        cluster.manager().docker(&["network", "rm", "wide"]).status == 0
    });
}

/// Swarm replaces a task that fails.
fn task_that_fails(cluster: &Cluster) {
    let _guard = cluster.all_nodes_up.read();
    let options = format!("{QUICK} --replicas 1 --restart-delay 100ms --restart-max-attempts 2");
    let service = cluster.service("fails", &options, &["sh", "-c", "sleep 0.3; exit 3"]);
    wait_until("three tasks have failed", 60, || {
        let output = service.call(
            "ps",
            &["--no-trunc", "--format", "{{.CurrentState}} {{.Error}}"],
        );
        output.matches("task: non-zero exit (3)").count() == 3
    });
}

/// When a node crashes, its tasks start on another node; later the node rejoins.
fn node_lost(cluster: &Cluster) {
    let _alone = cluster.all_nodes_up.write();
    let service = cluster.service("lost", &format!("{QUICK} --replicas 9"), SLEEPS);
    service.waits_for(9);
    let lost = &cluster.nodes[2];
    let name = lost.host.sh("hostname");
    assert!(service.tasks().contains_key(&name));
    lost.crash();
    wait_until("the tasks run on other nodes", 100, || {
        let tasks = service.tasks();
        !tasks.contains_key(&name) && tasks.values().sum::<usize>() == 9
    });
    assert_eq!(service.containers().len(), 9);
    lost.start_daemon();
    lost.wait();
    wait_until("the node has rejoined", 60, || {
        let output =
            cluster
                .manager()
                .docker(&["node", "inspect", "-f", "{{.Status.State}}", &name]);
        output.ok() == "ready"
    });
    service.call("update", &["-d", "--force"]);
    wait_until("the node has tasks again", 100, || {
        service.tasks().contains_key(&name)
    });
}
