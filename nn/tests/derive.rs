//! `#[derive(Module)]`: names and order of what it shows, generics, training; moving and counting.

#![allow(clippy::unwrap_used, reason = "a test that unwraps says where it failed")]

use std::marker::PhantomData;

use striate_nn::{
    BatchNorm2d, Buffer, Context, Conv2d, FullConnect, Module, Network, NetworkSpec, Rates, Relu,
    Seed, Sequential, Sgd, batch_norm, conv2d, named_buffers, named_parameters, parameter_count,
    parameter_gradients, parameters_mut, require_grad, to, update_statistics,
};
use striate_tensor::{DType, Device, RandomKey, Reference, Result, Tensor};

fn device() -> Device {
    Device::new(Reference::new())
}

fn key(stream: u64) -> RandomKey {
    RandomKey::new(7, stream)
}

fn values(tensor: &Tensor) -> Vec<f32> {
    tensor.to_vec::<f32>().unwrap_or_else(|error| panic!("{error}"))
}

fn full(extent: usize, value: f32) -> Tensor {
    Tensor::full([extent], value, DType::F32, &device()).unwrap_or_else(|error| panic!("{error}"))
}

fn names(module: &mut dyn Module) -> (Vec<String>, Vec<String>) {
    let shown: Vec<String> = named_parameters(module).into_iter().map(|(name, _)| name).collect();
    let buffers = named_buffers(module).into_iter().map(|(name, _)| name).collect();
    let changed: Vec<String> = parameters_mut(module).into_iter().map(|(name, _)| name).collect();
    assert_eq!(shown, changed);
    (shown, buffers)
}

/// Every sort of field.
#[derive(Module)]
struct Parts {
    scale: Tensor,
    shift: Option<Tensor>,
    none: Option<Tensor>,
    #[module(name = "conv1")]
    first: Conv2d,
    running: Buffer,
    blocks: Vec<FullConnect>,
    optional: Vec<Option<Tensor>>,
    pair: [Tensor; 2],
    boxed: Box<dyn Module>,
    sequence: Sequential,
    activation: Relu,
    function: fn(&Tensor, &Context) -> Result<Tensor>,
    r#type: Tensor,
    #[module(skip)]
    times: usize,
}

impl Parts {
    fn forward(&self, x: &Tensor, cx: &Context) -> Result<Tensor> {
        assert_eq!(self.times, 3);
        self.activation.forward(&self.first.forward(x, cx)?, cx)
    }
}

#[test]
fn every_field_is_shown_by_its_name_in_order() {
    let device = device();
    let full_connect = || FullConnect::new(2, 3, key(1), &device).unwrap();
    let mut parts = Parts {
        scale: full(1, 1.0),
        shift: Some(full(2, 1.0)),
        none: None,
        first: Conv2d::new(conv2d(2, 1).without_bias(), 3, key(0), &device).unwrap(),
        running: Buffer::new(full(2, 0.0)),
        blocks: vec![full_connect(), full_connect()],
        optional: vec![None, Some(full(4, 1.0))],
        pair: [full(5, 1.0), full(6, 1.0)],
        boxed: Box::new(BatchNorm2d::new(batch_norm(), 2, &device).unwrap()),
        sequence: Sequential::new().then(full_connect()),
        activation: Relu,
        function: |x, _| x.neg(),
        r#type: full(7, 1.0),
        times: 3,
    };
    let (parameters, buffers) = names(&mut parts);
    let expected = [
        "scale",
        "shift",
        "conv1.weight",
        "blocks.0.weight",
        "blocks.0.bias",
        "blocks.1.weight",
        "blocks.1.bias",
        "optional.1",
        "pair.0",
        "pair.1",
        "boxed.weight",
        "boxed.bias",
        "sequence.0.weight",
        "sequence.0.bias",
        "type",
    ];
    assert_eq!(parameters, expected);
    assert_eq!(buffers, ["running", "boxed.running"]);
    let x = Tensor::ones([1, 2, 2, 3], &device).unwrap();
    let y = Module::forward(&parts, &x, &Context::inference()).unwrap();
    assert_eq!(y.dims(), [1, 2, 2, 2]);
    assert!(parts.none.is_none());
    let negated = (parts.function)(&x, &Context::inference()).unwrap();
    assert_eq!(values(&negated)[0], -1.0);
    assert_eq!(parameter_count(&parts), 1 + 2 + 6 + 2 * 8 + 4 + 5 + 6 + 4 + 8 + 7);
}

/// Two modules, one after the other.
#[derive(Module)]
struct Then<A, B>(A, B);

impl<A: Module, B: Module> Then<A, B> {
    fn forward(&self, x: &Tensor, cx: &Context) -> Result<Tensor> {
        self.1.forward(&self.0.forward(x, cx)?, cx)
    }
}

/// As many modules as it has, and a type that is no field.
#[derive(Module)]
struct Stack<M, Tag: Send + Sync, const N: usize>
where
    M: Clone,
{
    modules: [M; N],
    #[module(skip)]
    _tag: PhantomData<Tag>,
}

impl<M: Module + Clone, Tag: Send + Sync, const N: usize> Stack<M, Tag, N> {
    fn forward(&self, x: &Tensor, cx: &Context) -> Result<Tensor> {
        self.modules.iter().try_fold(x.clone(), |x, module| module.forward(&x, cx))
    }
}

/// A lifetime, by the name that derived code would be tempted to take.
#[derive(Module)]
struct Named<'visit> {
    layer: FullConnect,
    #[module(skip)]
    name: &'visit str,
}

impl Named<'_> {
    fn forward(&self, x: &Tensor, cx: &Context) -> Result<Tensor> {
        assert_eq!(self.name, "named");
        self.layer.forward(x, cx)
    }
}

#[derive(Module)]
struct Nothing;

impl Nothing {
    fn forward(&self, x: &Tensor, _: &Context) -> Result<Tensor> {
        Ok(x.clone())
    }
}

#[test]
fn generics_tuples_and_units() {
    let device = device();
    let layer = |stream| FullConnect::new(2, 2, key(stream), &device).unwrap();
    let stack = Stack::<_, String, 2> { modules: [layer(0), layer(1)], _tag: PhantomData };
    let mut module = Then(Then(Nothing, stack), layer(2));
    let (parameters, buffers) = names(&mut module);
    let expected = [
        "0.1.modules.0.weight",
        "0.1.modules.0.bias",
        "0.1.modules.1.weight",
        "0.1.modules.1.bias",
        "1.weight",
        "1.bias",
    ];
    assert_eq!((&parameters[..], buffers.len()), (&expected.map(String::from)[..], 0));
    let x = Tensor::ones([1, 2], &device).unwrap();
    let by_hand = Sequential::new().then(layer(0)).then(layer(1)).then(layer(2));
    let cx = Context::inference();
    let y = Module::forward(&module, &x, &cx).unwrap();
    assert_eq!(values(&y), values(&by_hand.forward(&x, &cx).unwrap()));
    let mut named = Named { layer: layer(3), name: "named" };
    assert_eq!(names(&mut named).0, ["layer.weight", "layer.bias"]);
    assert_eq!(Module::forward(&named, &x, &cx).unwrap().dims(), [1, 2]);
}

/// A residual block, as people write it.
#[derive(Module)]
struct Block {
    conv1: Conv2d,
    bn1: BatchNorm2d,
    conv2: Conv2d,
    bn2: BatchNorm2d,
}

impl Block {
    fn new(channels: usize, device: &Device) -> Result<Self> {
        let conv = conv2d(channels, 3).padding(1).without_bias();
        Ok(Block {
            conv1: Conv2d::new(conv, channels, key(0), device)?,
            bn1: BatchNorm2d::new(batch_norm(), channels, device)?,
            conv2: Conv2d::new(conv, channels, key(3), device)?,
            bn2: BatchNorm2d::new(batch_norm(), channels, device)?,
        })
    }

    fn forward(&self, x: &Tensor, cx: &Context) -> Result<Tensor> {
        let y = self.bn1.forward(&self.conv1.forward(x, cx)?, cx)?.relu()?;
        self.bn2.forward(&self.conv2.forward(&y, cx)?, cx)?.add(x)?.relu()
    }
}

#[test]
fn a_block_in_code_is_the_block_of_a_specification() {
    let device = device();
    let mut block = Block::new(4, &device).unwrap();
    let conv = || conv2d(4, 3).padding(1).without_bias();
    let spec = NetworkSpec::new([5, 5, 4])
        .residual(|x| x.conv(conv()).batch_norm().relu().conv(conv()).batch_norm())
        .relu();
    let network = spec.build(&device, Seed(0)).unwrap();
    let own: Vec<Tensor> = named_parameters(&block).into_iter().map(|(_, tensor)| tensor).collect();
    let buffers = network.buffers().iter().map(|buffer| buffer.value().clone()).collect();
    let mut network = Network::of(spec, own, buffers, &device).unwrap();
    let x = Tensor::uniform([3, 5, 5, 4], -1.0, 1.0, key(9), &device).unwrap();
    let step = |module: &mut dyn Module| {
        require_grad(module);
        let cx = Context::training(key(5));
        let loss = module.forward(&x, &cx).unwrap().square().unwrap().mean_all().unwrap();
        let gradients = parameter_gradients(module, loss.backward().unwrap());
        let rates = Rates { rate: 0.1, momentum: 0.9, decay: 0.0 };
        Sgd::new().step(module, &gradients, |_| rates.step(1.0)).unwrap();
        update_statistics(module, &cx.take_records()).unwrap();
        let parameters = named_parameters(module).into_iter().map(|(_, tensor)| values(&tensor));
        let buffers = named_buffers(module).into_iter().map(|(_, buffer)| values(buffer.value()));
        parameters.chain(buffers).collect::<Vec<_>>()
    };
    let (own, layers) = (step(&mut block), step(&mut network));
    assert_eq!(own.len(), 8);
    for (own, layers) in own.iter().zip(&layers) {
        for (a, b) in own.iter().zip(layers) {
            assert!((a - b).abs() < 1e-5, "{a} {b}");
        }
    }
}

#[test]
fn modules_move_with_their_ties() {
    let (here, there) = (device(), device());
    let w = Tensor::ones([2, 2], &here).unwrap().require_grad();
    let layer = || FullConnect::from_tensors(w.clone(), None, false);
    let norm = BatchNorm2d::new(batch_norm(), 2, &here).unwrap();
    let mut module = Sequential::new()
        .then(layer())
        .then(norm.clone())
        .then(norm)
        .then(layer())
        .then(FullConnect::new(2, 2, key(1), &here).unwrap());
    // The tied weights count once, and the clones of what is no leaf each.
    assert_eq!(parameter_count(&module), 4 + 4 + 4 + 6);
    let before: Vec<Vec<f32>> =
        named_parameters(&module).iter().map(|(_, tensor)| values(tensor)).collect();
    to(&mut module, &there).unwrap();
    let parameters = named_parameters(&module);
    assert!(parameters.iter().all(|(_, tensor)| tensor.device().is(&there)));
    let after: Vec<Vec<f32>> = parameters.iter().map(|(_, tensor)| values(tensor)).collect();
    assert_eq!(after, before);
    let leaf = |place: usize| parameters[place].1.leaf_id();
    assert!(leaf(0).is_some() && leaf(0) == leaf(5) && leaf(0) != w.leaf_id());
    assert!(leaf(1).is_none());
    let buffers = named_buffers(&module);
    assert!(buffers.iter().all(|(_, buffer)| buffer.value().device().is(&there)));
    assert_eq!(buffers[0].1.key(), buffers[1].1.key());
    let x = Tensor::ones([3, 2], &there).unwrap();
    module.forward(&x, &Context::inference()).unwrap();
    // What is there already stays as it is.
    to(&mut module, &there).unwrap();
    assert_eq!(named_parameters(&module)[0].1.leaf_id(), leaf(0));
}
