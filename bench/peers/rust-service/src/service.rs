//! The service: a reader that consumes, works and produces, and a second task that waits for the acknowledgements in the order of the records and stores the offsets, so that nothing is committed before its result is safe. Many results are under way at a time.

use std::collections::BTreeMap;
use std::sync::Arc;

use measure::{Failure, flag};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{Consumer, StreamConsumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message;
use rdkafka::producer::future_producer::DeliveryFuture;
use rdkafka::producer::{FutureProducer, FutureRecord};
use tokio::sync::mpsc;
use tokio::time::{Duration, sleep};

use crate::job::heartbeat;

/// Results under way.
const IN_FLIGHT: usize = 50_000;

/// Acknowledgements between two times that offsets are stored.
const STORE_EVERY: usize = 1_000;

/// A result under way and where its record stands.
struct Sent {
    partition: i32,
    offset: i64,
    delivery: DeliveryFuture,
}

/// Runs until it is killed.
pub fn run(workers: usize) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let mut running = tokio::task::JoinSet::new();
        for _ in 0..workers {
            running.spawn(worker());
        }
        running.join_next().await.unwrap_or(Ok(Ok(())))?
    })
}

async fn worker() -> Result<(), Failure> {
    let (topic, results) = (flag("source")?, flag("results")?);
    let consumer: Arc<StreamConsumer> = Arc::new(settings()?.set("group.id", flag("group")?).create()?);
    let producer: FutureProducer = producer_settings()?.create()?;
    consumer.subscribe(&[&topic])?;
    let (send, receive) = mpsc::channel(IN_FLIGHT);
    let acknowledging = tokio::spawn(acknowledge(Arc::clone(&consumer), topic, receive));
    let mut output = Vec::new();
    while !send.is_closed() {
        let message = consumer.recv().await?;
        let (partition, offset) = (message.partition(), message.offset());
        output.clear();
        heartbeat(message.payload().unwrap_or_default(), format!("{}-{partition}-{offset}", message.topic()), &mut output)?;
        let mut record = FutureRecord::to(&results).partition(partition).key(message.key().unwrap_or_default()).payload(&output);
        let delivery = loop {
            match producer.send_result(record) {
                Ok(delivery) => break delivery,
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => record = back,
                Err((error, _)) => return Err(error.into()),
            }
            sleep(Duration::from_millis(1)).await;
        };
        if send.send(Sent { partition, offset, delivery }).await.is_err() {
            break;
        }
    }
    acknowledging.await?
}

async fn acknowledge(consumer: Arc<StreamConsumer>, topic: String, mut sent: mpsc::Receiver<Sent>) -> Result<(), Failure> {
    let mut batch = Vec::with_capacity(STORE_EVERY);
    while sent.recv_many(&mut batch, STORE_EVERY).await > 0 {
        let mut done = BTreeMap::new();
        for Sent { partition, offset, delivery } in batch.drain(..) {
            delivery.await?.map_err(|(error, _)| error)?;
            done.insert(partition, offset);
        }
        for (partition, offset) in done {
            consumer.store_offset(&topic, partition, offset)?;
        }
    }
    Ok(())
}

fn settings() -> Result<ClientConfig, Failure> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", flag("brokers")?).set("auto.offset.reset", "earliest").set("enable.auto.offset.store", "false");
    // The default of one second makes the client sleep whenever its queue was full.
    config.set("fetch.queue.backoff.ms", "1");
    Ok(config)
}

fn producer_settings() -> Result<ClientConfig, Failure> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", flag("brokers")?).set("enable.idempotence", "true").set("acks", "all").set("compression.type", "lz4");
    config.set("linger.ms", "5").set("batch.size", "1000000").set("batch.num.messages", "100000").set("queue.buffering.max.messages", "200000");
    Ok(config)
}
